// One storage account: no keys, no public blobs, TLS 1.2, and no access from networks that the parameters do not name.

param name string
param location string
param tags object
param containers string[]
param queues string[] = []

@description('Allow all networks; for an app without a virtual network. Account keys and public blobs stay disabled.')
param openToAllNetworks bool

@description('The subnet that has access through its service endpoint.')
param subnetId string = ''

@description('One public IP address that has access.')
param clientIp string = ''

@description('Allow only private endpoints, a client address and, if enabled, trusted services.')
param privateEndpoints bool = false

@description('Allow trusted services. Only Event Grid needs this.')
param trustedServices bool = false

@description('Give the account a hierarchical namespace. This works only when it is created.')
param hierarchical bool = false

@description('`AAD`: allow copies only from accounts in the same tenant.')
param copyScope ('AAD' | 'PrivateLink')?

@description('Number of days for which overwritten and deleted blobs can be restored. Omitted: soft delete is off.')
@minValue(1)
@maxValue(365)
param softDeleteDays int?

@description('Blobs with these name prefixes are deleted 90 days after their last change.')
param deletedAfter90Days string[] = []

@description('Append blobs with these name prefixes are deleted 365 days after their last change.')
param deletedAfter365Days string[] = []

var publicEndpoint = !privateEndpoints || trustedServices || !empty(clientIp)
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
    // Storage refuses false and null as changes to an account that was created without this property.
    ...(hierarchical ? { isHnsEnabled: true } : {})
    publicNetworkAccess: publicEndpoint ? 'Enabled' : 'Disabled'
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

  resource lifecycle 'managementPolicies' = if (!empty(deletedAfter90Days)) {
    name: 'default'
    properties: {
      policy: {
        rules: [
          {
            name: 'delete-after-90-days'
            type: 'Lifecycle'
            enabled: true
            definition: {
              filters: { blobTypes: ['blockBlob'], prefixMatch: deletedAfter90Days }
              actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: 90 } } }
            }
          }
          {
            name: 'delete-after-365-days'
            type: 'Lifecycle'
            enabled: true
            definition: {
              filters: { blobTypes: ['appendBlob'], prefixMatch: deletedAfter365Days }
              actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: 365 } } }
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
