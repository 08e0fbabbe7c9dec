// The parameters of `azd up`: values of the azd environment (`azd env set NAME value`), or defaults.
using 'main.bicep'

// azd sets these variables, but also compiles this file before it does. `unset` is not a region of Azure.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'unset')
param location = readEnvironmentVariable('AZURE_LOCATION', 'unset')
param principalId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')
param principalType = readEnvironmentVariable('AZURE_PRINCIPAL_TYPE', 'User')

// A JSON list with an element for each target. Source and target name their account if it exists already:
// {"account": "mysource", "resourceGroup": "rg-data", "container": "invoices", "prefix": "2026/"}. A target in another tenant
// also names that: {"account": "partner", "container": "inbox", "tenant": "66666666-6666-6666-6666-666666666666"}. A source with
// a hierarchical namespace says so, to share what is renamed: {"account": "mylake", "container": "data", "hierarchical": true}.
param routes = json(readEnvironmentVariable(
  'SHARING_ROUTES',
  '[{"name": "default", "source": {"container": "source"}, "target": {"container": "target"}}]'
))

param vnetEnabled = bool(readEnvironmentVariable('VNET_ENABLED', 'true'))
param privateEndpoints = bool(readEnvironmentVariable('PRIVATE_ENDPOINTS', 'false'))
param clientIp = readEnvironmentVariable('CLIENT_IP', '')
param testerAccess = bool(readEnvironmentVariable('TESTER_ACCESS', 'true'))
param sharingClientId = readEnvironmentVariable('SHARING_CLIENT_ID', '')
param readOnly = bool(readEnvironmentVariable('READ_ONLY', 'false'))
param egressPricePerGib = readEnvironmentVariable('EGRESS_PRICE_PER_GIB', '')
param egressCurrency = readEnvironmentVariable('EGRESS_CURRENCY', 'USD')
param otlpEndpoint = readEnvironmentVariable('OTLP_ENDPOINT', '')
param otlpHeaders = readEnvironmentVariable('OTLP_HEADERS', '')
param carryTags = bool(readEnvironmentVariable('CARRY_TAGS', 'false'))
param durableBackend = readEnvironmentVariable('DURABLE_BACKEND', 'storage')
param schedulerSku = readEnvironmentVariable('SCHEDULER_SKU', 'Consumption')
param instanceMemory = json(readEnvironmentVariable('INSTANCE_MEMORY', '2048'))
param maximumInstances = int(readEnvironmentVariable('MAXIMUM_INSTANCES', '40'))
param alwaysReady = int(readEnvironmentVariable('ALWAYS_READY', '1'))
param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')
param logDailyCapGb = int(readEnvironmentVariable('LOG_DAILY_CAP_GB', '5'))
param softDeleteDays = int(readEnvironmentVariable('SOFT_DELETE_DAYS', '7'))
