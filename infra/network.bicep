// The app's network: one subnet for its outbound traffic, and one for private endpoints, which may be empty.

param name string
param location string
param tags object

@description('Use private endpoints instead of service endpoints. See docs/network.md.')
param privateEndpoints bool

var appSubnet = {
  name: 'app'
  properties: {
    addressPrefix: '10.0.0.0/24' // the instances share its addresses
    defaultOutboundAccess: true // the Functions host reaches Entra ID and Application Insights
    delegations: [
      {
        name: 'flex'
        properties: { serviceName: 'Microsoft.App/environments' }
      }
    ]
    serviceEndpoints: privateEndpoints ? [] : [{ service: 'Microsoft.Storage' }]
  }
}
var endpointSubnet = {
  name: 'endpoints'
  properties: {
    addressPrefix: '10.0.1.0/24'
    defaultOutboundAccess: false
    privateEndpointNetworkPolicies: 'Disabled'
  }
}

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.0.0.0/16'] }
    // Inline, because separate subnet resources are updated one after another. Always both, because a subnet with endpoints
    // cannot be removed, and a deployment does not delete endpoints.
    subnets: [appSubnet, endpointSubnet]
  }

  resource app 'subnets' existing = {
    name: 'app'
  }

  resource endpoints 'subnets' existing = {
    name: 'endpoints'
  }
}

output id string = network.id
output appSubnetId string = network::app.id
output endpointSubnetId string = network::endpoints.id
