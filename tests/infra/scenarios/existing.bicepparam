// Existing accounts in other resource groups and another region. Only the app's own accounts are created.
using '../../../infra/main.bicep'

param environmentName = 'demo'
param location = 'westeurope'
param routes = [
  {
    name: 'partner'
    source: { account: 'contosodata', resourceGroup: 'rg-data', location: 'northeurope', container: 'outbox' }
    target: { account: 'fabrikamdata', resourceGroup: 'rg-partner', container: 'inbox', prefix: 'from-us/' }
  }
  {
    name: 'archive'
    source: { account: 'contosodata', resourceGroup: 'rg-data', location: 'northeurope', container: 'outbox' }
    target: { account: 'contosoarchive', resourceGroup: 'rg-data', container: 'archive' }
  }
  {
    name: 'onward'
    source: { account: 'contosoarchive', resourceGroup: 'rg-data', location: 'northeurope', container: 'archive' }
    target: { account: 'fabrikamdata', resourceGroup: 'rg-partner', container: 'onward' }
  }
]
param principalId = '44444444-4444-4444-4444-444444444444'
