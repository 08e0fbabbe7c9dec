// One storage account: no keys, no public blobs, TLS 1.2, and closed to everybody whom the parameters do not name.

param name string
param location string
param tags object
param containers string[]
param queues string[] = []

@description('Open to every network: for an app without one. Keys and public blobs stay off.')
param openToAllNetworks bool

@description('The subnet that is let in by its service endpoint.')
param subnetId string = ''

@description('One public address that is let in.')
param clientIp string = ''

@description('No way in but private endpoints, a client address, and trusted services if they are let in.')
param privateEndpoints bool = false

@description('Let trusted services in: Event Grid is one, and only it needs this.')
param trustedServices bool = false

@description('`AAD`: blobs can be copied here from accounts of this tenant alone.')
param copyScope ('AAD' | 'PrivateLink')?

@description('For how many days what was overwritten or deleted can be brought back; left out: not at all.')
@minValue(1)
@maxValue(365)
param softDeleteDays int?

@description('Blobs whose names begin so are deleted when they have not changed for 90 days.')
param forgottenAfter90Days string[] = []

var publicWay = !privateEndpoints || trustedServices || !empty(clientIp)
var retention = softDeleteDays == null ? { enabled: false } : { enabled: true, days: softDeleteDays! }

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowedCopyScope: copyScope
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    isLocalUserEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicWay ? 'Enabled' : 'Disabled'
    networkAcls: {
      defaultAction: openToAllNetworks ? 'Allow' : 'Deny'
      bypass: trustedServices ? 'AzureServices' : 'None'
      ipRules: empty(clientIp) ? [] : [{ value: clientIp, action: 'Allow' }]
      virtualNetworkRules: empty(subnetId) ? [] : [{ id: subnetId, action: 'Allow' }]
    }
  }

  resource blobs 'blobServices' = {
    name: 'default'
    properties: {
      deleteRetentionPolicy: retention
      containerDeleteRetentionPolicy: retention
    }

    resource container 'containers' = [
      for container in containers: {
        name: container
        properties: { publicAccess: 'None' }
      }
    ]
  }

  resource queueService 'queueServices' = if (!empty(queues)) {
    name: 'default'

    resource queue 'queues' = [
      for queue in queues: {
        name: queue
      }
    ]
  }

  resource lifecycle 'managementPolicies' = if (!empty(forgottenAfter90Days)) {
    name: 'default'
    properties: {
      policy: {
        rules: [
          {
            name: 'forget'
            type: 'Lifecycle'
            enabled: true
            definition: {
              filters: { blobTypes: ['blockBlob'], prefixMatch: forgottenAfter90Days }
              actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: 90 } } }
            }
          }
        ]
      }
    }
    dependsOn: [blobs]
  }
}

output id string = account.id
output name string = account.name
output blobEndpoint string = account.properties.primaryEndpoints.blob
output queueEndpoint string = account.properties.primaryEndpoints.queue
