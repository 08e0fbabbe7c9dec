// The function app on Flex Consumption. Its settings are exactly those that settings.py and the host read.

param planName string
param name string
param location string
param tags object

param identityId string
param identityClientId string
param stateAccountName string

@description('The endpoints of the events account.')
param eventsBlobs string
param eventsQueues string

@description('The package container: its blob endpoint and name.')
param package string

param subnetId string
param insightsConnection string
param traceUrl string

@description('The value of the setting ROUTES.')
param routes string

@description('More settings: for the scheduler, for targets in other tenants, for estimates, for a collector, and for an API that only reads.')
param more object

param memory int
param maximumInstances int
param alwaysReady int

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { tier: 'FlexConsumption', name: 'FC1' }
  properties: { reserved: true }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'app' })
  kind: 'functionapp,linux'
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    #disable-next-line BCP037 // documented, but missing from the published type
    functionsRuntimeAdminIsolationEnabled: true // only Azure can call /admin
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: { minTlsVersion: '1.2' } // Flex Consumption refuses most other properties, for example `ftpsState`
    functionAppConfig: {
      runtime: { name: 'python', version: '3.12' }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: package
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identityId }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: memory
        maximumInstanceCount: maximumInstances
        alwaysReady: alwaysReady == 0 ? [] : [{ name: 'durable', instanceCount: alwaysReady }]
      }
    }
  }

  resource settings 'config' = {
    name: 'appsettings'
    properties: {
      AzureWebJobsStorage__accountName: stateAccountName
      AzureWebJobsStorage__clientId: identityClientId
      AzureWebJobsStorage__credential: 'managedidentity'
      EVENTS__blobServiceUri: eventsBlobs
      EVENTS__queueServiceUri: eventsQueues
      EVENTS__clientId: identityClientId
      EVENTS__credential: 'managedidentity'
      APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnection
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
      TRACE_URL: traceUrl
      ROUTES: routes
      ...more
    }
  }

  // Disable publishing by user name and password: azd uses a token.
  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }
}

output name string = app.name
output url string = 'https://${app.properties.defaultHostName}'
