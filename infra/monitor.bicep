// The destination of logs and metrics. Access by key is disabled.

param workspaceName string
param insightsName string
param location string
param tags object

@description('Daily cap in GB; -1: no cap.')
param dailyCapGb int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: 30
    workspaceCapping: { dailyQuotaGb: dailyCapGb }
    features: { disableLocalAuth: true }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: insightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

// The lines and spans of one trace in the logs. The app puts the id where {trace_id} is.
var logs = '${environment().portal}/#@${tenant().tenantId}/blade/Microsoft_Azure_Monitoring_Logs/LogsBlade/resourceId/${uriComponent(workspace.id)}/source/LogsBlade.AnalyticsShareLinkToQuery/query'
var queryBefore = uriComponent('let id = "')
var queryAfter = uriComponent('"; union AppTraces, AppRequests, AppDependencies, AppExceptions | where OperationId == id or Message has id | order by TimeGenerated asc')

output traceUrl string = '${logs}/${queryBefore}{trace_id}${queryAfter}/timespan/P30D'
output workspaceId string = workspace.id
output workspaceName string = workspace.name
output insightsId string = insights.id
// Not a secret: with local authentication disabled, it gives no access.
output insightsConnection string = insights.properties.ConnectionString
