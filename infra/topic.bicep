// The source account's events. A system-assigned identity: a user-assigned one cannot deliver to a queue behind a firewall.

param name string
param location string
param tags object
param accountName string

@description('The existing system topic of the account; it must have a system-assigned identity. Empty: create one.')
param present string

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: accountName
}

resource made 'Microsoft.EventGrid/systemTopics@2025-02-15' = if (empty(present)) {
  name: name
  location: location
  tags: tags
  identity: { type: 'SystemAssigned' }
  properties: {
    source: account.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource there 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = if (!empty(present)) {
  name: present
}

output principalId string = empty(present) ? made!.identity.principalId : there!.identity.principalId
