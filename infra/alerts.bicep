// Alerts on the app's own log lines: the platform's figure of a queue's length is hourly, and of a whole account.
// Each `action` and field is in docs/operating.md, and a test holds both to the code.

param namePrefix string
param groupName string
param location string
param tags object
param workspaceId string

@description('Who is written to; nobody if it is empty.')
param email string

var lines = 'AppTraces | where Message startswith "{\\"action\\": " | extend line = parse_json(Message) | extend action = tostring(line.action)'

type rule = {
  name: string
  says: string
  severity: int
  where: string

  @description('What is asked of those lines, if not whether there are any.')
  then: string?

  @description('How far back lines are read, if further than the window.')
  reads: string?

  @description('Fires when there are more lines than this in the window; left out: at the first.')
  moreThan: int?

  @description('How far back it looks; half an hour if left out.')
  window: string?
}

var rules rule[] = [
  {
    name: 'dead-letters'
    says: 'Something could not be shared, and waits as a dead letter: GET /api/dead-letters says what, why, and what to do.'
    severity: 2
    where: 'action == "message.dead_lettered" or action == "undelivered.left" or action == "sweep.missing_letter" or (action == "transfer.close" and tostring(line.verdict) == "done" and tostring(line.state) == "dead_lettered")'
  }
  {
    name: 'queue-depth'
    says: 'Over 10,000 events wait: more are written than are accepted, or a flood is on its way.'
    severity: 2
    where: 'action == "queue.depth" and tolong(line.depth) > 10000'
  }
  {
    name: 'queue-age'
    says: 'An event waits for more than 15 minutes: the queue trigger fails or does not run. Up to 10 minutes are normal after an instance crashed, stopped or was scaled in, for the at most 8 events that it was accepting.'
    severity: 1
    where: 'action == "queue.depth" and tolong(line.oldest_seconds) > 900'
  }
  {
    name: 'orchestrations-failed'
    says: 'Orchestrations were given up, cannot be read, or stood still and were ended: look at the task hub and the release.'
    severity: 1
    where: 'action in ("resume.ended", "resume.unreadable", "watchdog.stuck", "http.failed")'
  }
  {
    name: 'worker-dies'
    says: 'Over 20 orchestrations were resumed within an hour: the Python worker keeps dying. Nothing is lost so far. docs/operating.md, "The worker keeps dying", says what to do.'
    severity: 2
    where: 'action == "resume.resumed"'
    moreThan: 20
    window: 'PT1H'
  }
  {
    name: 'no-progress'
    says: 'Orchestrations have shown no sign of life for over an hour.'
    severity: 2
    where: 'action == "watchdog.silent"'
  }
  {
    name: 'timers-fail'
    says: 'A timer of the app fails: queues are not drained, or letters not written.'
    severity: 2
    where: 'action == "timer.failed"'
  }
  {
    name: 'silence'
    // Of the last line that there was: before the first one, of an app that is still being deployed, it says nothing.
    says: 'The app has not measured its queue for half an hour: it does not run, or its log has reached the daily cap. It is said for two days, which is as far back as an alert can look.'
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
