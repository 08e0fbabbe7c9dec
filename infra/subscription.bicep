// Events of new source blobs are delivered to the queue. Undelivered events are kept in a container.

param topicName string
param name string
param subjectBeginsWith string
param eventsAccountId string
param queue string
param deadLetterContainer string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topicName
}

resource subscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: name
  properties: {
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    filter: {
      includedEventTypes: ['Microsoft.Storage.BlobCreated', 'Microsoft.Storage.BlobTierChanged']
      subjectBeginsWith: subjectBeginsWith
      isSubjectCaseSensitive: true // blob names are case-sensitive
    }
    deliveryWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      destination: {
        endpointType: 'StorageQueue'
        properties: {
          resourceId: eventsAccountId
          queueName: queue
          queueMessageTimeToLiveInSeconds: -1 // messages never expire, so none is lost while the app is down
        }
      }
    }
    deadLetterWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: eventsAccountId
          blobContainerName: deadLetterContainer
        }
      }
    }
    // The maximum of Event Grid: retries for one day.
    retryPolicy: { maxDeliveryAttempts: 30, eventTimeToLiveInMinutes: 1440 }
  }
}
