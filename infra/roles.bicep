// The role assignments: principal, role, scope and reason. Each scope is as narrow as possible (docs/security.md).
targetScope = 'subscription'

import { account, principal } from 'types.bicep'

param app principal
param topics principal[]

@description('The principal who deploys and tests. Omitted: none.')
param tester principal?

param sourceAccounts account[]

@description('{account, subscription, resourceGroup, container} of each source and each target, without duplicates.')
param sourceContainers object[]
param targetContainers object[]

@description('{id, subscription, group} of each queue and each topic to notify, without duplicates.')
param recipients { queues: object[], topics: object[] }

param state account
param events account
param deadLetterContainer string
param insightsId string
param taskHubId string?

@description('Copy index tags. Reading and writing them requires Storage Blob Data Owner at both ends.')
param carryTags bool

// Ids of built-in roles, which are the same in all tenants.
var blobReader = '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1' // Storage Blob Data Reader
var blobContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe' // Storage Blob Data Contributor
var blobOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b' // Storage Blob Data Owner
var blobDelegator = 'db58b8e5-c6ad-4a2a-8342-4190687cbf4a' // Storage Blob Delegator
var queueContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88' // Storage Queue Data Contributor
var queueSender = 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a' // Storage Queue Data Message Sender
var topicSender = 'd5a91429-5739-47e2-a06b-3470a27159e7' // EventGrid Data Sender
var tableContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3' // Storage Table Data Contributor
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb' // Monitoring Metrics Publisher
var durableContributor = '0ad04412-c4d5-4796-b79c-f76d14c8d402' // Durable Task Data Contributor

var home = { subscription: state.subscription, group: state.resourceGroup }
var storage = 'Microsoft.Storage/storageAccounts'

@description('The scope of a role: a resource, and the subscription and resource group of the assignment.')
type scope = { id: string, subscription: string, group: string }

func containerAt(at object) scope => {
  subscription: at.subscription
  group: at.resourceGroup
  id: resourceId(
    at.subscription,
    at.resourceGroup,
    'Microsoft.Storage/storageAccounts/blobServices/containers',
    at.account,
    'default',
    at.container
  )
}

func row(who principal, role string, at scope, reason string) object => { who: who, role: role, at: at, reason: reason }

var sources = map(sourceContainers, each => containerAt(each))
var targets = map(targetContainers, each => containerAt(each))
var signers = map(sourceAccounts, each => {
  subscription: each.subscription
  group: each.resourceGroup
  id: resourceId(each.subscription, each.resourceGroup, storage, each.name)
})
var stateScope = { ...home, id: resourceId(home.subscription, home.group, storage, state.name) }
var eventsScope = { ...home, id: resourceId(home.subscription, home.group, storage, events.name) }
var deadLetterScope = { ...home, id: '${stateScope.id}/blobServices/default/containers/${deadLetterContainer}' }
var insights = { ...home, id: insightsId }
var hubs = taskHubId == null ? [] : [{ ...home, id: taskHubId! }]
var testers = tester == null ? [] : [tester!]

// A container may be the target of one route and the source of another: union() avoids duplicate assignments.
var plain = carryTags
  ? { from: [], to: [], tagged: union(sources, targets) }
  : { from: sources, to: targets, tagged: [] }

var table = flatten([
  map(plain.from, at => row(app, blobReader, at, 'reads the source blobs'))
  map(plain.to, at => row(app, blobContributor, at, 'copies to the target, aborts copies and deletes incomplete blobs'))
  map(plain.tagged, at => row(app, blobOwner, at, 'shares blobs together with their index tags'))
  map(signers, at => row(app, blobDelegator, at, 'gets the key that signs the SAS of a copy; needs the account scope'))
  map(recipients.queues, at => row(app, queueSender, at, 'notifies the recipient of shared blobs'))
  map(recipients.topics, at => row(app, topicSender, at, 'notifies the recipient of shared blobs'))
  [row(app, blobOwner, stateScope, 'host locks and package, task hub, dead letters, reports, figures and ledger')]
  [row(app, queueContributor, stateScope, 'uses transfer-ends, creates and uses the queues of the task hub')]
  [row(app, tableContributor, stateScope, 'creates and uses the tables of the task hub')]
  [row(app, queueContributor, eventsScope, 'reads the event queue, writes successor events, drains the poison queue')]
  [row(app, blobContributor, eventsScope, 'reads and deletes the events that Event Grid could not deliver')]
  [row(app, metricsPublisher, insights, 'sends telemetry without a key')]
  map(hubs, at => row(app, durableContributor, at, 'runs the orchestrations in the scheduler'))
  map(
    topics,
    topic => row(topic, queueSender, eventsScope, 'delivers events to the queue; Event Grid checks the account scope')
  )
  map(
    topics,
    topic => row(topic, blobContributor, eventsScope, 'writes undelivered events; Event Grid checks the account scope')
  )
  flatten(map(
    testers,
    me => map(union(sources, targets), at => row(me, blobContributor, at, 'writes test blobs and deletes them'))
  ))
  map(testers, me => row(me, blobReader, deadLetterScope, 'reads the dead letters'))
])

module assignments 'role-assignment.json' = [
  for each in table: {
    scope: resourceGroup(each.at.subscription, each.at.group)
    params: {
      scope: each.at.id
      principalId: each.who.id
      principalType: each.who.type
      role: each.role
      reason: each.reason
    }
  }
]
