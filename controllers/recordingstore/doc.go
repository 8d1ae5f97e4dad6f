// Package recordingstore counts what recordings take, says when a store is full, and
// deletes recordings whose time is over.
//
// It never reads a recording: names, labels and the size that the writer noted are in the
// metadata of the ConfigMaps, and that is all that is fetched and cached.
package recordingstore
