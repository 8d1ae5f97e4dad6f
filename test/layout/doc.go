// Package layout holds the rules of who may import whom. They are what makes the operator
// buildable without C, the proxy runnable without a cluster, and a protocol addable as one
// new folder, so a change that breaks one fails here and not in review.
package layout
