// The proxy renames or deletes a path of the Data Lake API: a file, or a directory with everything in it. Azurite loads this
// file after `staged_blocks.cjs`.
//
// Renamed blobs keep all properties, including the ETag, and their staged blocks. Nothing is awaited during the change, so
// no reader sees a part of it.

const HEADER = "x-devhost-tree";
const store = require("azurite/dist/src/blob/persistence/LokiBlobMetadataStore").default.prototype;
const { startCopyFromURL, deleteBlob } = store;

// The documents of a path and of everything below it, with the field that holds the blob's name.
function tree(db, { account, container, blob }) {
  const found = [];
  for (const [name, field] of [[db.BLOBS_COLLECTION, "name"], [db.BLOCKS_COLLECTION, "blobName"]]) {
    const collection = db.db.getCollection(name);
    for (const document of collection.find({ accountName: account, containerName: container })) {
      if (document[field] === blob || document[field].startsWith(`${blob}/`)) found.push({ collection, document, field });
    }
  }
  return found;
}

function remove(db, root) {
  for (const { collection, document } of tree(db, root)) collection.remove(document);
}

store.startCopyFromURL = async function (context, source, target, ...rest) {
  if (!context.request.getHeader(HEADER)) return startCopyFromURL.call(this, context, source, target, ...rest);
  await this.checkContainerExist(context, target.account, target.container);
  const renamed = tree(this, source);
  remove(this, target);
  for (const { collection, document, field } of renamed) {
    document[field] = target.blob + document[field].slice(source.blob.length);
    document.containerName = target.container;
    collection.update(document);
  }
  return renamed[0].document.properties;
};

store.deleteBlob = async function (context, account, container, blob, ...rest) {
  if (!context.request.getHeader(HEADER)) return deleteBlob.call(this, context, account, container, blob, ...rest);
  remove(this, { account, container, blob });
};
