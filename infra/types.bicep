// The words of the parameters, and what is worked out of them. They are those of docs/settings.md.

@export()
@sealed() // a field that is written wrong would share more than was meant
@description('One end of a route. Without `account` it is in the account that is created here.')
type end = {
  @description('The name of an existing account.')
  account: string?

  @description('The subscription of the existing account, if it is another one of the same tenant.')
  subscription: string?

  @description('The resource group of the existing account, if it is another than the one that is created here.')
  resourceGroup: string?

  @description('The region of an existing source account, if it is another: its system topic has to be there.')
  location: string?

  @description('The system topic of an existing source account that has one: an account has at most one.')
  topic: string?

  container: string

  @description('What names begin with, raw. A folder ends with a slash.')
  prefix: string?
}

@export()
@sealed()
@description('A route. Several with one source are several targets. All fields but the ends are passed on as they are.')
type route = {
  name: string
  source: end
  target: end
  suffix: string?
  engine: ('auto' | 'sync' | 'async')?
  deadline: string?
  tier: ('Hot' | 'Cool' | 'Cold')?
  reconcile: string?
}

@export()
@description('An end of which everything is known.')
type place = {
  account: string
  subscription: string
  resourceGroup: string
  location: string
  topic: string
  container: string
  prefix: string
}

@export()
@description('An account that is there, or will be.')
type account = {
  name: string
  subscription: string
  resourceGroup: string
  location: string

  @description('The system topic that it has already; empty: none.')
  topic: string
}

@export()
@description('Somebody who is given roles.')
type principal = {
  id: string
  type: 'ServicePrincipal' | 'User' | 'Group'
}

@export()
@description('The place of an end: what it leaves out is what is created here.')
func placeOf(given end, created account) place => {
  account: given.?account ?? created.name
  subscription: given.?subscription ?? created.subscription
  resourceGroup: given.?resourceGroup ?? created.resourceGroup
  location: given.?location ?? created.location
  topic: given.?topic ?? created.topic
  container: given.container
  prefix: given.?prefix ?? ''
}

func encoded(text string) string => replace(uriComponent(text), '%2F', '/')

@export()
@description('The URL of a place as ROUTES has it: the prefix percent-encoded, but for its slashes.')
func urlOf(given place, suffix string) string =>
  'https://${given.account}.blob.${suffix}/${given.container}/${encoded(given.prefix)}'

@export()
@description('What subjects of the events of a place begin with. The slash after the name keeps `source2` out of `source`. A prefix that has to be encoded in a URL is left to the app: nobody says how a subject writes it.')
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
