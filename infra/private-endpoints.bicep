// A private endpoint for each service that the app uses, all in the app's network. With endpoints in two networks, the
// copying service cannot read its source (docs/network.md).

import { account } from 'types.bicep'

param location string
param tags object
param networkId string
param subnetId string
param namePrefix string

@description('Accounts that need only a blob endpoint.')
param blobAccounts account[]

param stateAccount account
param eventsAccount account

var services = ['blob', 'queue', 'table']
var connections = concat(
  map(blobAccounts, each => { account: each, service: 'blob' }),
  map(services, service => { account: stateAccount, service: service }),
  map(['blob', 'queue'], service => { account: eventsAccount, service: service })
)

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for service in services: {
    name: 'privatelink.${service}.${environment().suffixes.storage}'
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (service, index) in services: {
    parent: zones[index]
    name: 'app'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: networkId }
    }
  }
]

resource endpoints 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for each in connections: {
    name: '${namePrefix}${each.account.name}-${each.service}'
    location: location
    tags: tags
    properties: {
      subnet: { id: subnetId }
      privateLinkServiceConnections: [
        {
          name: each.service
          properties: {
            privateLinkServiceId: resourceId(
              each.account.subscription,
              each.account.resourceGroup,
              'Microsoft.Storage/storageAccounts',
              each.account.name
            )
            groupIds: [each.service]
          }
        }
      ]
    }
  }
]

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (each, index) in connections: {
    parent: endpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: each.service
          properties: { privateDnsZoneId: zones[indexOf(services, each.service)].id }
        }
      ]
    }
  }
]
