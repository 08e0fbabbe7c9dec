// Who may do what, where, and why: the table, and the loop that assigns it. The narrowest scope that does; docs/security.md.
targetScope = 'subscription'

import { account, principal } from 'types.bicep'

param app principal
param topics principal[]

@description('The person who deploys and wants to test; left out: nobody.')
param tester principal?

param sourceAccounts account[]

@description('{account, resourceGroup, container} of each source, of each target, once.')
param sourceContainers object[]
param targetContainers object[]

param state account
param eventQueue string
param deadLetterContainer string
param eventDeadLetterContainer string
param insightsId string
param taskHubId string?

@description('Carry index tags: reading and writing them takes Owner of the blobs at both ends.')
param carryTags bool

// The built-in roles, by the ids that they have everywhere.
var blobReader = '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
var blobContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var blobOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var blobDelegator = 'db58b8e5-c6ad-4a2a-8342-4190687cbf4a'
var queueContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
var queueSender = 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
var tableContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'
var durableContributor = '0ad04412-c4d5-4796-b79c-f76d14c8d402'

var here = subscription().subscriptionId
var home = state.resourceGroup
var stateId = resourceId(here, home, 'Microsoft.Storage/storageAccounts', state.name)
var testers = tester == null ? [] : [tester!]
var hubs = taskHubId == null ? [] : [taskHubId!]

func containerId(subscriptionId string, group string, account string, container string) string =>
  resourceId(
    subscriptionId,
    group,
    'Microsoft.Storage/storageAccounts/blobServices/containers',
    account,
    'default',
    container
  )

func row(who principal, role string, group string, scope string, reason string) object => {
  who: who
  role: role
  group: group
  scope: scope
  reason: reason
}

var sources = map(sourceContainers, each => {
  group: each.resourceGroup
  id: containerId(here, each.resourceGroup, each.account, each.container)
})
var targets = map(targetContainers, each => {
  group: each.resourceGroup
  id: containerId(here, each.resourceGroup, each.account, each.container)
})
var queueId = resourceId(
  here,
  home,
  'Microsoft.Storage/storageAccounts/queueServices/queues',
  state.name,
  'default',
  eventQueue
)
var lettersId = containerId(here, home, state.name, deadLetterContainer)
var undeliveredId = containerId(here, home, state.name, eventDeadLetterContainer)

// A container may be one route's target and another's source: nobody gets one role twice.
var table = flatten([
  map(
    carryTags ? [] : sources,
    each => row(app, blobReader, each.group, each.id, 'looks at what is shared, and has it read')
  )
  map(
    carryTags ? [] : targets,
    each => row(app, blobContributor, each.group, each.id, 'copies, aborts, and deletes what is half-made')
  )
  map(
    carryTags ? union(sources, targets) : [],
    each => row(app, blobOwner, each.group, each.id, 'shares blobs with their index tags')
  )
  map(
    sourceAccounts,
    each =>
      row(
        app,
        blobDelegator,
        each.resourceGroup,
        resourceId(here, each.resourceGroup, 'Microsoft.Storage/storageAccounts', each.name),
        'signs the SAS that the copying service reads with; only an account gives the key'
      )
  )
  [
    row(app, blobOwner, home, stateId, 'the host: locks and package; the task hub; dead letters and reports')
    row(app, queueContributor, home, stateId, 'the task hub makes its queues; the events and their poison twin')
    row(app, tableContributor, home, stateId, 'the task hub makes its tables')
    row(app, metricsPublisher, home, insightsId, 'sends log lines and measurements without a key')
  ]
  map(hubs, id => row(app, durableContributor, home, id, 'runs the orchestrations that the scheduler keeps'))
  map(topics, topic => row(topic, queueSender, home, queueId, 'puts the events on the queue, and does nothing else'))
  map(topics, topic => row(topic, blobContributor, home, undeliveredId, 'keeps the events that it could not deliver'))
  flatten(map(
    testers,
    person =>
      map(
        union(sources, targets),
        each => row(person, blobContributor, each.group, each.id, 'puts blobs there, sees them arrive, and cleans up')
      )
  ))
  map(testers, person => row(person, blobReader, home, lettersId, 'reads the dead letters'))
])

module assignments 'role-assignment.json' = [
  for each in table: {
    scope: resourceGroup(each.group)
    params: {
      scope: each.scope
      principalId: each.who.id
      principalType: each.who.type
      role: each.role
      reason: each.reason
    }
  }
]
