// Several targets, and nested sources.
using '../../../infra/main.bicep'

param environmentName = 'demo'
param location = 'westeurope'
param routes = [
  { name: 'all', source: { container: 'source' }, target: { container: 'target' } }
  { name: 'again', source: { container: 'source' }, target: { container: 'archive', prefix: 'copies/' }, tier: 'Cool' }
  {
    name: 'reports'
    source: { container: 'source', prefix: 'reports/' }
    target: { container: 'inbox' }
    suffix: '.csv'
    engine: 'sync'
    deadline: 'PT6H'
    reconcile: 'P1D'
    exclude: ['_temporary/*', '*.tmp']
    empty: 'skip'
    min_size: 2
    max_size: 209715200000000
    objective: { percentile: 95, within: 'PT15M' }
    daily_bytes: 1099511627776
  }
  { name: 'folder', source: { container: 'drop', prefix: 'in/2026/' }, target: { container: 'drop' } }
  { name: 'invoices', source: { container: 'invoices', prefix: 'für uns/2026 #1/' }, target: { container: 'invoices' } }
]
param carryTags = true
param egressPricePerGib = '0.02'
param otlpEndpoint = 'https://collector.example:4318'
param otlpHeaders = '@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/otlp)'
param egressCurrency = 'EUR'
param alwaysReady = 0
param alertEmail = 'operator@example.com'
