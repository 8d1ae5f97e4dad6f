// Package objects masks fields of Kubernetes objects: of one that stands alone, of lists,
// tables and metadata, and of the annotations that hold an object again. It works on decoded
// JSON and knows nothing of HTTP. The text that takes the place of a value is always the same,
// so that a masked object is recognised when it comes back to be written.
//
// It masks what it does not understand rather than showing it: an annotation that may hold a
// copy of the object, printed cells of unknown origin, an error that may quote a value.
package objects
