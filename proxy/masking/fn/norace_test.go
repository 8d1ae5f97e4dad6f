//go:build !race

package fn

// raced says that the race detector is on. Pools then forget at random, to show races.
const raced = false
