// Alerts on the app's own log lines: the platform's figure of a queue's length is hourly, and of a whole account.
// Each `action` and field is in docs/operating.md, and a test holds both to the code.

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
  says: string
  severity: int
  where: string

  @description('A further part of the query. By default the alert counts the lines.')
  then: string?

  @description('The time range of the query, if longer than the window.')
  reads: string?

  @description('Fires if the window has more lines than this. Default: 0.')
  moreThan: int?

  @description('The window of the alert. Default: half an hour.')
  window: string?
}

var rules rule[] = [
  {
    name: 'dead-letters'
    says: 'A blob could not be shared and is now a dead letter. GET /api/dead-letters shows the blob, the reason and what to do.'
    severity: 2
    where: 'action == "message.dead_lettered" or action == "undelivered.skipped" or action == "sweep.missing_letter" or (action == "transfer.close" and tostring(line.verdict) == "done" and tostring(line.state) == "dead_lettered")'
  }
  {
    name: 'queue-depth'
    says: 'More than 10,000 events are waiting: they arrive faster than the app accepts them.'
    severity: 2
    where: 'action == "queue.depth" and tolong(line.depth) > 10000'
  }
  {
    name: 'queue-age'
    says: 'An event has waited for more than 15 minutes: the queue trigger fails or does not run. Up to 10 minutes are normal for the at most 8 events that an instance was accepting when it crashed, stopped or was scaled in.'
    severity: 1
    where: 'action == "queue.depth" and tolong(line.oldest_seconds) > 900'
  }
  {
    name: 'orchestrations-failed'
    says: 'Orchestrations were given up, cannot be read, or hung and were ended. Check the task hub and the last release.'
    severity: 1
    where: 'action in ("resume.ended", "resume.unreadable", "watchdog.stuck", "http.failed")'
  }
  {
    name: 'worker-dies'
    says: 'More than 20 orchestrations were resumed within an hour: the Python worker keeps dying. Nothing is lost so far. See "The worker keeps dying" in docs/operating.md.'
    severity: 2
    where: 'action == "resume.resumed"'
    moreThan: 20
    window: 'PT1H'
  }
  {
    name: 'no-progress'
    says: 'Orchestrations have made no progress for over an hour.'
    severity: 2
    where: 'action == "watchdog.silent"'
  }
  {
    name: 'timers-fail'
    says: 'A timer of the app fails: queues are not drained, or dead letters are not written.'
    severity: 2
    where: 'action == "timer.failed"'
  }
  {
    name: 'silence'
    // Of the last line that there was: before the first one, of an app that is still being deployed, it says nothing.
    says: 'The app has not measured its queue for half an hour: it does not run, or its log has reached the daily cap. The alert fires for at most two days, the longest time range of a query.'
    severity: 1
    where: 'action == "queue.depth"'
    then: '| summarize last = max(TimeGenerated) | where last < ago(30m)'
    reads: 'P2D'
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
      description: each.says
      severity: each.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: 'PT5M'
      windowSize: each.?window ?? 'PT30M'
      overrideQueryTimeRange: each.?reads
      autoMitigate: true
      skipQueryValidation: true // a new workspace has no table yet
      criteria: {
        allOf: [
          {
            query: '${lines} | where ${each.where}${empty(each.?then) ? '' : ' ${each.?then}'}'
            timeAggregation: 'Count'
            operator: 'GreaterThan' // never fewer than: a new workspace has no line
            threshold: each.?moreThan ?? 0
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: [group.id] }
    }
  }
]
