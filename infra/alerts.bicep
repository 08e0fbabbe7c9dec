// Alerts on the app's log lines. The platform's metric of queue length is hourly, and covers a whole account.
// docs/operating.md lists each `action`; a test compares actions and fields with the code.

param namePrefix string
param groupName string
param location string
param tags object
param workspaceId string

@description('The e-mail address that receives alerts. Empty: none.')
param email string

var lines = 'AppTraces | where Message startswith "{\\"action\\": " | extend line = parse_json(Message) | extend action = tostring(line.action)'

type rule = {
  name: string
  description: string
  severity: int
  where: string

  @description('A further part of the query. By default the alert counts the lines.')
  then: string?

  @description('The time range of the query, if longer than the window.')
  queryRange: string?

  @description('Fires if the window has more lines than this. Default: 0.')
  moreThan: int?

  @description('The window of the alert. Default: half an hour.')
  window: string?
}

var rules rule[] = [
  {
    name: 'dead-letters'
    description: 'A blob could not be shared and is now a dead letter. GET /api/dead-letters shows the blob, the reason and what to do.'
    severity: 2
    where: 'action == "message.dead_lettered" or action == "undelivered.skipped" or action == "sweep.missing_letter" or action == "notice.dead_lettered" or (action == "transfer.close" and tostring(line.verdict) == "done" and tostring(line.state) == "dead_lettered")'
  }
  {
    name: 'queue-depth'
    description: 'More than 10,000 events are waiting: they arrive faster than the app accepts them.'
    severity: 2
    where: 'action == "queue.depth" and tolong(line.depth) > 10000'
  }
  {
    name: 'queue-age'
    description: 'An event has waited for more than 15 minutes: the queue trigger fails or does not run. Up to 10 minutes are normal for the at most 8 events that an instance was accepting when it crashed, stopped or was scaled in.'
    severity: 1
    where: 'action == "queue.depth" and tolong(line.oldest_seconds) > 900'
  }
  {
    name: 'orchestrations-failed'
    description: 'Orchestrations failed permanently, have unreadable input, or hung and were ended. Check the task hub and the last release.'
    severity: 1
    where: 'action in ("resume.ended", "resume.unreadable", "watchdog.stuck", "http.failed")'
  }
  {
    name: 'worker-dies'
    description: 'More than 20 orchestrations were resumed within an hour: the Python worker keeps dying. Nothing is lost so far. See "The worker keeps dying" in docs/operating.md.'
    severity: 2
    where: 'action == "resume.resumed"'
    moreThan: 20
    window: 'PT1H'
  }
  {
    name: 'no-progress'
    description: 'Orchestrations have made no progress for over an hour.'
    severity: 2
    where: 'action == "watchdog.silent"'
  }
  {
    name: 'timers-fail'
    description: 'A timer of the app fails: queues are not drained, or dead letters are not written.'
    severity: 2
    where: 'action == "timer.failed"'
  }
  {
    name: 'objective-missed'
    description: 'A route misses its objective: more transfers of the last day were late than may be. GET /api/routes shows by how much.'
    severity: 2
    where: 'action == "objective.missed"'
  }
  {
    name: 'silence'
    // Based on the last line, so it does not fire before the first one, during a deployment.
    description: 'The app has not measured its queue for half an hour: it does not run, or its log has reached the daily cap. The alert fires for at most two days, the longest time range of a query.'
    severity: 1
    where: 'action == "queue.depth"'
    then: '| summarize last = max(TimeGenerated) | where last < ago(30m)'
    queryRange: 'P2D'
  }
]

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: groupName
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'sharing'
    enabled: true
    emailReceivers: empty(email) ? [] : [{ name: 'operator', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for each in rules: {
    name: '${namePrefix}${each.name}'
    location: location
    tags: tags
    properties: {
      displayName: 'Blob data sharing: ${each.name}'
      description: each.description
      severity: each.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: 'PT5M'
      windowSize: each.?window ?? 'PT30M'
      overrideQueryTimeRange: each.?queryRange
      autoMitigate: true
      skipQueryValidation: true // a new workspace does not have the table yet
      criteria: {
        allOf: [
          {
            query: '${lines} | where ${each.where}${empty(each.?then) ? '' : ' ${each.?then}'}'
            timeAggregation: 'Count'
            operator: 'GreaterThan' // not LessThan, because a new workspace has no lines
            threshold: each.?moreThan ?? 0
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: [group.id] }
    }
  }
]
