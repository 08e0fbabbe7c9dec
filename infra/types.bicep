// The types of the parameters, and values derived from them. docs/settings.md has the same fields.

@export()
@sealed() // with a misspelled field, a route would share more than intended
@description('One end of a route. Without `account` it is in the account that this template creates.')
type end = {
  @description('The name of an existing account.')
  account: string?

  @description('The subscription of the existing account, if it differs.')
  subscription: string?

  @description('The resource group of the existing account, if it is not the one that this template creates.')
  resourceGroup: string?

  @description('The region of an existing source account, if it differs. Its system topic must be in the same region.')
  location: string?

  @description('The system topic of an existing source account, if it has one. An account has at most one.')
  topic: string?

  container: string

  @description('The prefix of blob names, not encoded. A folder ends with a slash.')
  prefix: string?

  @description('The id of the tenant of an existing target account, if it differs. The template assigns nothing there. See docs/partners.md.')
  tenant: string?

  @description('The account has a hierarchical namespace; only then are renames delivered. All routes agree on an account. An account that this template creates gets it only when it is created.')
  hierarchical: bool?
}

@export()
@sealed()
@description('An existing queue or Event Grid topic that gets an event for each shared version. Set account and queue, or topic and endpoint. See docs/consumers.md.')
type recipient = {
  @description('The storage account of the queue.')
  account: string?
  queue: string?

  @description('The name of the topic.')
  topic: string?

  @description('The endpoint of the topic: https://<topic>.<region>-1.eventgrid.azure.net/api/events')
  endpoint: string?

  @description('The subscription, if it differs.')
  subscription: string?

  @description('The resource group, if it is not the one that this template creates.')
  resourceGroup: string?

  @description('The id of the tenant, if it differs. The template assigns nothing there.')
  tenant: string?
}

@export()
@sealed()
@description('A route. Use several routes with one source for several targets. All fields except the two ends are passed to the app unchanged.')
type route = {
  name: string
  source: end
  target: end
  suffix: string?
  engine: ('auto' | 'sync' | 'async' | 'blocks')?
  deadline: string?
  tier: ('Hot' | 'Cool' | 'Cold' | 'same')?
  reconcile: string?

  @description('Globs. A blob whose name one of them matches is not shared.')
  exclude: string[]?

  @description('Whether blobs of 0 bytes are shared.')
  empty: ('skip' | 'share')?

  min_size: int?
  max_size: int?

  @description('Whether events for the route are ignored for now. Afterwards a reconcile starts by itself.')
  paused: bool?
  notify: recipient?

  @description('How fast transfers should be: {percentile, within}. The percentile may have decimals, so the app checks the fields.')
  objective: object?

  @description('The bytes of a UTC day after which events for the route are ignored until midnight.')
  @minValue(1)
  daily_bytes: int?
}

@export()
@description('An end with all values filled in.')
type place = {
  account: string
  subscription: string
  resourceGroup: string
  location: string
  topic: string
  container: string
  prefix: string

  @description('The tenant; empty: that of the deployment.')
  tenant: string
  hierarchical: bool
}

@export()
@description('An existing account, or one that this template creates.')
type account = {
  name: string
  subscription: string
  resourceGroup: string
  location: string

  @description('The account\'s existing system topic; empty: none.')
  topic: string
}

@export()
@description('A principal that gets roles.')
type principal = {
  id: string
  type: 'ServicePrincipal' | 'User' | 'Group'
}

@export()
@description('The place of an end. Omitted values are those that this template creates.')
func placeOf(given end, created account) place => {
  account: given.?account ?? created.name
  subscription: given.?subscription ?? created.subscription
  resourceGroup: given.?resourceGroup ?? created.resourceGroup
  location: given.?location ?? created.location
  topic: given.?topic ?? created.topic
  container: given.container
  prefix: given.?prefix ?? ''
  tenant: given.?tenant ?? ''
  hierarchical: given.?hierarchical ?? false
}

func encoded(text string) string => replace(uriComponent(text), '%2F', '/')

@export()
@description('The URL of a place for ROUTES. The prefix is percent-encoded except for its slashes.')
func urlOf(given place, suffix string) string =>
  'https://${given.account}.blob.${suffix}/${given.container}/${encoded(given.prefix)}'

@export()
@description('A recipient for ROUTES: its URL, in another tenant with the tenant.')
func notifyOf(given recipient, suffix string) object =>
  recipientAt(given.?endpoint ?? 'https://${given.?account ?? ''}.queue.${suffix}/${given.?queue ?? ''}', given.?tenant)

func recipientAt(url string, tenant string?) object => { notify: tenant == null ? url : { url: url, tenant: tenant! } }

@export()
@description('The scope of the role that a recipient needs: the queue or the topic.')
func recipientScope(given recipient, created account) object => {
  subscription: given.?subscription ?? created.subscription
  group: given.?resourceGroup ?? created.resourceGroup
  id: contains(given, 'topic')
    ? resourceId(
        given.?subscription ?? created.subscription,
        given.?resourceGroup ?? created.resourceGroup,
        'Microsoft.EventGrid/topics',
        given.?topic ?? ''
      )
    : resourceId(
        given.?subscription ?? created.subscription,
        given.?resourceGroup ?? created.resourceGroup,
        'Microsoft.Storage/storageAccounts/queueServices/queues',
        given.?account ?? '',
        'default',
        given.?queue ?? ''
      )
}

@export()
@description('The prefix of event subjects of a place. The slash after the container keeps `source2` out of `source`. A prefix that needs encoding in a URL is left to the app, because the encoding in a subject is not documented.')
func subjectOf(given place) string =>
  '/blobServices/default/containers/${given.container}/${empty(given.prefix) || encoded(given.prefix) != given.prefix ? '' : 'blobs/${given.prefix}'}'

@export()
@description('The container of a place, without the prefix.')
func containerOf(given place) object => {
  account: given.account
  subscription: given.subscription
  resourceGroup: given.resourceGroup
  container: given.container
}

@export()
@description('The account of a place.')
func accountOf(given place) account => {
  name: given.account
  subscription: given.subscription
  resourceGroup: given.resourceGroup
  location: given.location
  topic: given.topic
}
