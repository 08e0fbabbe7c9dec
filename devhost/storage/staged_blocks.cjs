// Staged blocks as the service keeps them (BOR). Azurite loads this file first.
//
// A whole write to a name and its deletion drop its staged blocks; Azurite keeps them. They are not a blob, so a write with
// If-None-Match: * succeeds; Azurite refuses it. They are listed by id; Azurite lists them in the order of staging.

const store = require("azurite/dist/src/blob/persistence/LokiBlobMetadataStore").default.prototype;

function wrap(method, around) {
  const original = store[method];
  store[method] = function (...args) {
    return around(this, args, () => original.apply(this, args));
  };
}

function drop(db, accountName, containerName, blobName) {
  db.db.getCollection(db.BLOCKS_COLLECTION).findAndRemove({ accountName, containerName, blobName });
}

// Azurite keeps a blob that is not committed in place of a name with staged blocks. It is hidden from the write, and is
// back if the write was refused.
async function write(db, { account, container, blob }, proceed) {
  const blobs = db.db.getCollection(db.BLOBS_COLLECTION);
  const key = { accountName: account, containerName: container, name: blob };
  const placeholder = blobs.findOne({ ...key, isCommitted: false });
  if (placeholder) blobs.remove(placeholder);
  try {
    const result = await proceed();
    drop(db, account, container, blob);
    return result;
  } catch (refusal) {
    if (placeholder && !blobs.findOne(key)) blobs.insert({ ...placeholder, $loki: undefined, meta: undefined });
    throw refusal;
  }
}

wrap("createBlob", (db, [, { accountName, containerName, name }], proceed) =>
  write(db, { account: accountName, container: containerName, blob: name }, proceed),
);
wrap("startCopyFromURL", (db, [, , target], proceed) => write(db, target, proceed));
wrap("copyFromURL", (db, [, , target], proceed) => write(db, target, proceed));
wrap("deleteBlob", async (db, [, account, container, blob, options], proceed) => {
  await proceed();
  if (!options.snapshot && options.deleteSnapshots !== "only") drop(db, account, container, blob);
});
wrap("getBlockList", async (_db, _args, proceed) => {
  const list = await proceed();
  list.uncommittedBlocks.sort((one, other) => (one.name < other.name ? -1 : 1));
  return list;
});
