// The source account's events. The identity is system-assigned: a user-assigned one cannot deliver to a queue behind a
// firewall.

param name string
param location string
param tags object
param accountName string

@description('The existing system topic of the account; it must have a system-assigned identity. Empty: create one.')
param existingName string

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: accountName
}

resource created 'Microsoft.EventGrid/systemTopics@2025-02-15' = if (empty(existingName)) {
  name: name
  location: location
  tags: tags
  identity: { type: 'SystemAssigned' }
  properties: {
    source: account.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource found 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = if (!empty(existingName)) {
  name: existingName
}

output principalId string = empty(existingName) ? created!.identity.principalId : found!.identity.principalId
