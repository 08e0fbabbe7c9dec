// Everything that `azd up` creates. This file connects the modules; each module has its own file.
targetScope = 'subscription'

import { route, placeOf, urlOf, notifyOf, recipientScope, subjectOf, containerOf, accountOf } from 'types.bicep'

@description('The name of the azd environment. The resource group is named after it; all other names contain a hash of it.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('The region of all resources that this template creates.')
@minLength(1)
param location string

@description('The routes: what is shared, and where it goes. Add an element for each further target.')
@minLength(1)
param routes route[]

@description('Create a virtual network for the app, and close the accounts to all other networks. See docs/network.md.')
param vnetEnabled bool = true

@description('Use private endpoints instead of service endpoints. They are billed by the hour.')
param privateEndpoints bool = false

@description('Your public IPv4 address. The accounts accept it, so that you can test.')
param clientIp string = ''

@description('The person or principal who deploys.')
param principalId string = ''
@description('The type of that principal. Use ServicePrincipal for a pipeline, Group for a team.')
param principalType ('User' | 'ServicePrincipal' | 'Group') = 'User'

@description('Assign roles to the principal who deploys: write and delete blobs at both ends of the routes, and read dead letters.')
param testerAccess bool = true

@description('The client id of the app registration that writes to targets in other tenants. See docs/partners.md.')
param sharingClientId string = ''

@description('The API refuses every call that changes something. Events, schedules and timers go on.')
param readOnly bool = false

@description('What a GiB of egress costs, such as 0.02, to estimate costs. Empty: no estimates. See docs/figures.md.')
param egressPricePerGib string = ''

@description('The currency of that price.')
param egressCurrency string = 'USD'

@description('The OTLP/HTTP endpoint of an OpenTelemetry collector that gets the metrics. Empty: none. See docs/figures.md.')
param otlpEndpoint string = ''

@description('The headers for that collector: a Key Vault reference to a secret such as `api-key=...`. The app needs the role Key Vault Secrets User on it.')
param otlpHeaders string = ''

@description('Copy index tags. This requires Storage Blob Data Owner for the app at both ends.')
param carryTags bool = false

@description('Where orchestrations are stored. See docs/scale.md.')
param durableBackend ('storage' | 'scheduler') = 'storage'

@description('The billing model of the scheduler. Dedicated suits a steady load; Consumption does less than storage. See docs/scale.md.')
param schedulerSku ('Consumption' | 'Dedicated') = 'Consumption'

@description('Memory of an instance in MB. Blob data never passes through it; 2048 is enough for 32 concurrent activities and 32 orchestrators. Use 4096 if the worker runs out of memory, 512 for a few blobs an hour.')
@allowed([512, 2048, 4096])
param instanceMemory int = 2048

@description('Maximum number of on-demand instances per function group. All durable functions are one group, all HTTP calls another; the queue trigger and each timer are one group each. Always-ready instances do not count. Four instances share the orchestrations (partitionCount), so more than 40 help only with the scheduler. Lower it if dead letters are `throttled`.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 40

@description('Always-ready instances of the durable group. Microsoft recommends one, so that the first blob after a pause need not wait for a start. 0 saves the cost.')
@minValue(0)
param alwaysReady int = 1

@description('The e-mail address that receives alerts. Empty: none.')
param alertEmail string = ''

@description('Daily cap of the log in GB. The log is the only cost that a fault can increase without limit. After it, nothing is logged until the next day. -1: no cap.')
@minValue(-1)
param logDailyCapGb int = 5

@description('Number of days for which overwritten and deleted target blobs can be restored.')
@minValue(1)
@maxValue(365)
param softDeleteDays int = 7

var short = loadJsonContent('abbreviations.json')
var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var groupName = '${short.resourceGroup}${environmentName}'

// These names are also in the code; a test compares them.
var eventQueue = 'blob-events'
var deadLetters = 'dead-letters'
var reports = 'reports'
var figures = 'figures'
var ledger = 'ledger'
var transferEnds = 'transfer-ends'
var eventDeadLetters = 'event-dead-letters'
var hub = loadJsonContent('../host.json').extensions.durableTask.hubName
var package = 'app-package'

var ownAccounts = map(['source', 'target', 'state', 'events'], name => {
  name: '${short.account}${name}${token}'
  subscription: subscription().subscriptionId
  resourceGroup: groupName
  location: location
  topic: ''
})
var sourceAccount = ownAccounts[0]
var targetAccount = ownAccounts[1]
var stateAccount = ownAccounts[2]
var eventsAccount = ownAccounts[3]
var givenSources = map(routes, each => placeOf(each.source, sourceAccount))
var givenTargets = map(routes, each => placeOf(each.target, targetAccount))
var hierarchicalAccounts = map(
  filter(concat(givenSources, givenTargets), place => place.hierarchical),
  at => at.account
)
var mistakes = flatten(map(
  routes,
  (each, index) =>
    map(
      filter(
        [
          {
            made: contains(each.source, 'tenant')
            text: 'a source must be in the tenant of the deployment. Remove its tenant.'
          }
          {
            made: contains(each.target, 'tenant') && (!contains(each.target, 'account') || empty(sharingClientId))
            text: 'a target in another tenant needs its account, and the parameter sharingClientId.'
          }
          {
            made: contains(each.?notify ?? {}, 'tenant') && empty(sharingClientId)
            text: 'a recipient in another tenant needs the parameter sharingClientId.'
          }
          {
            made: contains(each, 'notify') && length(filter(
              ['account', 'queue', 'topic', 'endpoint'],
              field => contains(each.notify!, field)
            )) != 2 || contains(each.?notify ?? {}, 'account') != contains(each.?notify ?? {}, 'queue')
            text: 'a recipient needs either account and queue, or topic and endpoint.'
          }
          {
            made: contains(each.target, 'account') && givenTargets[index].hierarchical
            text: 'the namespace of an existing target account makes no difference. Remove hierarchical from the target.'
          }
          {
            made: contains(hierarchicalAccounts, givenSources[index].account) && !givenSources[index].hierarchical
            text: 'another route says that the source account has a hierarchical namespace. Set hierarchical on all its sources or on none.'
          }
          {
            made: contains(hierarchicalAccounts, givenTargets[index].account) && !contains(each.target, 'account') && !givenTargets[index].hierarchical
            text: 'another route gives the target account a hierarchical namespace. Set hierarchical on all its targets or on none.'
          }
          {
            made: carryTags && (givenSources[index].hierarchical || givenTargets[index].hierarchical)
            text: 'an account with a hierarchical namespace has no index tags. Set carryTags to false, or deploy this route on its own.'
          }
        ],
        mistake => mistake.made
      ),
      mistake => 'Route ${each.name}: ${mistake.text}'
    )
))
var sources = empty(mistakes) ? givenSources : fail(join(mistakes, '\n'))
var targets = empty(mistakes) ? givenTargets : fail(join(mistakes, '\n'))
// In another tenant, the template can neither assign roles nor create a private endpoint.
var homeTargets = filter(targets, place => empty(place.tenant))
var recipients = map(filter(routes, each => contains(each, 'notify')), each => each.notify!)
var homeRecipients = filter(recipients, each => !contains(each, 'tenant'))
var hasPartners = length(homeTargets) < length(targets) || length(homeRecipients) < length(recipients)
var sourceAccounts = union([], map(sources, place => accountOf(place)))
var targetAccounts = union([], map(homeTargets, place => accountOf(place)))
var ownSources = filter(sources, place => place.account == sourceAccount.name)
var ownTargets = filter(homeTargets, place => place.account == targetAccount.name)

// A place inside another one shares its event subscription.
var outermost = filter(
  union([], sources),
  place =>
    empty(filter(
      sources,
      wider =>
        wider.account == place.account && wider.container == place.container && wider.prefix != place.prefix && startsWith(
          place.prefix,
          wider.prefix
        )
    ))
)
// Renames in a whole container: the subject of a renamed directory may be shorter than the prefix of a route in it.
var lakes = union([], map(filter(sources, place => place.hierarchical), place => { ...place, prefix: '' }))
var subscribed = concat(
  map(outermost, place => {
    place: place
    name: uniqueString(place.container, place.prefix)
    eventTypes: ['Microsoft.Storage.BlobCreated', 'Microsoft.Storage.BlobTierChanged']
  }),
  map(lakes, place => {
    place: place
    name: 'renames-${uniqueString(place.container)}'
    eventTypes: ['Microsoft.Storage.BlobRenamed', 'Microsoft.Storage.DirectoryRenamed']
  })
)
var useScheduler = durableBackend == 'scheduler'
var access = {
  subnetId: vnetEnabled && !privateEndpoints ? network!.outputs.appSubnetId : ''
  clientIp: vnetEnabled ? clientIp : ''
}

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: groupName
  location: location
  tags: tags
}

module identity 'identity.bicep' = {
  scope: group
  params: { name: '${short.identity}${token}', location: location, tags: tags }
}

module network 'network.bicep' = if (vnetEnabled) {
  scope: group
  params: {
    name: '${short.network}${token}'
    location: location
    tags: tags
    privateEndpoints: privateEndpoints
  }
}

module source 'account.bicep' = if (!empty(ownSources)) {
  scope: group
  params: {
    name: sourceAccount.name
    location: location
    tags: tags
    containers: union([], map(ownSources, place => place.container))
    hierarchical: contains(hierarchicalAccounts, sourceAccount.name)
    openToAllNetworks: !vnetEnabled
    privateEndpoints: vnetEnabled && privateEndpoints
    subnetId: access.subnetId
    clientIp: access.clientIp
  }
}

module target 'account.bicep' = if (!empty(ownTargets)) {
  scope: group
  params: {
    name: targetAccount.name
    location: location
    tags: tags
    containers: union([], map(ownTargets, place => place.container))
    hierarchical: contains(hierarchicalAccounts, targetAccount.name)
    openToAllNetworks: !vnetEnabled
    privateEndpoints: vnetEnabled && privateEndpoints
    subnetId: access.subnetId
    clientIp: access.clientIp
    copyScope: 'AAD'
    softDeleteDays: softDeleteDays
  }
}

module state 'account.bicep' = {
  scope: group
  params: {
    name: stateAccount.name
    location: location
    tags: tags
    containers: [deadLetters, reports, figures, ledger, package]
    queues: [transferEnds]
    openToAllNetworks: !vnetEnabled
    privateEndpoints: vnetEnabled && privateEndpoints
    subnetId: access.subnetId
    clientIp: access.clientIp
    deletedAfter90Days: ['${deadLetters}/resolved/', '${reports}/']
    deletedAfter365Days: ['${ledger}/']
  }
}

// Event Grid checks its roles on the whole account, so the account that it may write contains only events.
module events 'account.bicep' = {
  scope: group
  params: {
    name: eventsAccount.name
    location: location
    tags: tags
    containers: [eventDeadLetters]
    queues: [eventQueue, '${eventQueue}-poison']
    openToAllNetworks: !vnetEnabled
    privateEndpoints: vnetEnabled && privateEndpoints
    subnetId: access.subnetId
    clientIp: access.clientIp
    trustedServices: true
  }
}

module endpoints 'private-endpoints.bicep' = if (vnetEnabled && privateEndpoints) {
  scope: group
  params: {
    location: location
    tags: tags
    networkId: network!.outputs.id
    subnetId: network!.outputs.endpointSubnetId
    namePrefix: short.privateEndpoint
    blobAccounts: union(sourceAccounts, targetAccounts)
    stateAccount: stateAccount
    eventsAccount: eventsAccount
  }
  dependsOn: [source, target, state, events]
}

module monitor 'monitor.bicep' = {
  scope: group
  params: {
    workspaceName: '${short.workspace}${token}'
    insightsName: '${short.insights}${token}'
    location: location
    tags: tags
    dailyCapGb: logDailyCapGb
  }
}

module scheduler 'scheduler.bicep' = if (useScheduler) {
  scope: group
  params: { name: '${short.scheduler}${token}', location: location, tags: tags, hub: hub, sku: schedulerSku }
}

module topics 'topic.bicep' = [
  for each in sourceAccounts: {
    scope: resourceGroup(each.subscription, each.resourceGroup)
    params: {
      name: '${short.topic}${each.name}'
      existingName: each.topic
      location: each.location
      tags: tags
      accountName: each.name
    }
    dependsOn: [group, source]
  }
]

module roles 'roles.bicep' = {
  params: {
    app: { id: identity.outputs.principalId, type: 'ServicePrincipal' }
    topics: [for (each, index) in sourceAccounts: { id: topics[index].outputs.principalId, type: 'ServicePrincipal' }]
    tester: testerAccess && !empty(principalId) ? { id: principalId, type: principalType } : null
    sourceAccounts: sourceAccounts
    sourceContainers: union([], map(sources, place => containerOf(place)))
    targetContainers: union([], map(homeTargets, place => containerOf(place)))
    recipients: {
      queues: union(
        [],
        map(filter(homeRecipients, each => contains(each, 'queue')), each => recipientScope(each, stateAccount))
      )
      topics: union(
        [],
        map(filter(homeRecipients, each => contains(each, 'topic')), each => recipientScope(each, stateAccount))
      )
    }
    state: stateAccount
    events: eventsAccount
    deadLetterContainer: deadLetters
    insightsId: monitor.outputs.insightsId
    taskHubId: useScheduler ? scheduler!.outputs.hubId : null
    carryTags: carryTags
  }
  dependsOn: [source, target, state, events]
}

// Event Grid checks its roles when a subscription is created, and new roles take minutes to become effective. Therefore the
// subscriptions depend on the app, whose creation takes minutes.
module subscriptions 'subscription.bicep' = [
  for each in subscribed: {
    scope: resourceGroup(each.place.subscription, each.place.resourceGroup)
    params: {
      topicName: empty(each.place.topic) ? '${short.topic}${each.place.account}' : each.place.topic
      name: '${short.subscription}${token}-${each.name}'
      eventTypes: each.eventTypes
      subjectBeginsWith: subjectOf(each.place)
      eventsAccountId: events.outputs.id
      queue: eventQueue
      deadLetterContainer: eventDeadLetters
    }
    dependsOn: [topics, roles, app]
  }
]

module app 'app.bicep' = {
  scope: group
  params: {
    planName: '${short.plan}${token}'
    name: '${short.app}${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    stateAccountName: state.outputs.name
    eventsBlobs: events.outputs.blobEndpoint
    eventsQueues: events.outputs.queueEndpoint
    package: '${state.outputs.blobEndpoint}${package}'
    subnetId: vnetEnabled ? network!.outputs.appSubnetId : ''
    insightsConnection: monitor.outputs.insightsConnection
    traceUrl: monitor.outputs.traceUrl
    routes: string(appRoutes)
    more: {
      // infra/hooks/prepackage.py also names the scheduler in host.json, because the scale controller reads no app settings.
      ...(useScheduler
        ? {
            DURABLE_TASK_SCHEDULER: 'Endpoint=${scheduler!.outputs.endpoint};Authentication=ManagedIdentity;ClientID=${identity.outputs.clientId}'
          }
        : {})
      ...(empty(egressPricePerGib) ? {} : { EGRESS_PRICE_PER_GIB: egressPricePerGib, EGRESS_CURRENCY: egressCurrency })
      ...(empty(otlpEndpoint) ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT: otlpEndpoint })
      ...(empty(otlpHeaders) ? {} : { OTEL_EXPORTER_OTLP_HEADERS: otlpHeaders })
      ...(hasPartners ? { SHARING_CLIENT_ID: sharingClientId } : {})
      ...(readOnly ? { READ_ONLY: 'true' } : {})
    }
    memory: instanceMemory
    maximumInstances: maximumInstances
    alwaysReady: alwaysReady
  }
  dependsOn: [roles, endpoints]
}

module alerts 'alerts.bicep' = {
  scope: group
  params: {
    namePrefix: '${short.alert}${token}-'
    groupName: '${short.actionGroup}${token}'
    location: location
    tags: tags
    workspaceId: monitor.outputs.workspaceId
    email: alertEmail
  }
}

module workbook 'workbook.bicep' = {
  scope: group
  params: {
    name: guid(group.id, 'workbook')
    location: location
    tags: tags
    workspaceId: monitor.outputs.workspaceId
  }
}

// The value of ROUTES: both ends and the recipient as URLs, in another tenant with it, all other fields unchanged.
var appRoutes = [
  for (each, index) in routes: {
    ...each
    source: urlOf(sources[index], environment().suffixes.storage)
    target: empty(targets[index].tenant)
      ? urlOf(targets[index], environment().suffixes.storage)
      : { url: urlOf(targets[index], environment().suffixes.storage), tenant: targets[index].tenant }
    ...(contains(each, 'notify') ? notifyOf(each.notify!, environment().suffixes.storage) : {})
  }
]

output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output RESOURCE_GROUP string = group.name
output FUNCTION_APP string = app.outputs.name
output API_URL string = app.outputs.url
output ROUTES string = string(appRoutes)
output STATE_ACCOUNT string = state.outputs.name
output EVENTS_ACCOUNT string = events.outputs.name
output APP_IDENTITY string = identity.outputs.principalId
output APP_SUBNET string = vnetEnabled ? network!.outputs.appSubnetId : ''
output WORKSPACE string = monitor.outputs.workspaceName
output WORKBOOK string = workbook.outputs.id
