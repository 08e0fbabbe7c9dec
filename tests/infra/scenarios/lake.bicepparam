// Two sources with a hierarchical namespace, one of them created with two routes in one container, and one without. The created target has one.
using '../../../infra/main.bicep'

param environmentName = 'demo'
param location = 'westeurope'
param routes = [
  {
    name: 'raw'
    source: { container: 'lake', prefix: 'raw/2026/', hierarchical: true }
    target: { container: 'raw', hierarchical: true }
  }
  {
    name: 'curated'
    source: { container: 'lake', prefix: 'curated/', hierarchical: true }
    target: { container: 'curated', hierarchical: true }
  }
  {
    name: 'partner'
    source: { account: 'contosolake', resourceGroup: 'rg-data', container: 'outbox', hierarchical: true }
    target: { account: 'fabrikamdata', resourceGroup: 'rg-partner', container: 'inbox' }
  }
  {
    name: 'flat'
    source: { account: 'contosodata', resourceGroup: 'rg-data', container: 'outbox' }
    target: { account: 'fabrikamdata', resourceGroup: 'rg-partner', container: 'flat' }
  }
]
