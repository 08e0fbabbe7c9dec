// The Durable Task Scheduler: the managed engine, for those who outgrow storage (docs/scale.md).

param name string
param location string
param tags object

@description('The `hubName` of host.json.')
param hub string

@allowed(['Consumption', 'Dedicated'])
param sku string

resource scheduler 'Microsoft.DurableTask/schedulers@2025-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: sku == 'Dedicated' ? { name: sku, capacity: 1 } : { name: sku }
    ipAllowlist: ['0.0.0.0/0'] // who has no role gets nothing; the app's addresses are not fixed
  }

  resource taskHub 'taskHubs' = {
    name: hub
    properties: {}
  }
}

output endpoint string = scheduler.properties.endpoint
output hubId string = scheduler::taskHub.id
