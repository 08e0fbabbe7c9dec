// Each new blob of a source becomes a message, straight in the queue. What cannot be delivered is kept.

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
      includedEventTypes: ['Microsoft.Storage.BlobCreated']
      subjectBeginsWith: subjectBeginsWith
      isSubjectCaseSensitive: true // names of blobs are
    }
    deliveryWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      destination: {
        endpointType: 'StorageQueue'
        properties: {
          resourceId: eventsAccountId
          queueName: queue
          queueMessageTimeToLiveInSeconds: -1 // a message waits for the app, however long it is down
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
    // The most that there is: a day of tries.
    retryPolicy: { maxDeliveryAttempts: 30, eventTimeToLiveInMinutes: 1440 }
  }
}
