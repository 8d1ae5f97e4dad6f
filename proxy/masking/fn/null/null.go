// Package null masks a value by NULL, which every type has.
package null

// Func replaces every value by NULL.
type Func struct{}

// Mask returns dst unchanged and says that the value is NULL.
func (Func) Mask(dst, _ []byte) ([]byte, bool, error) { return dst, true, nil }
