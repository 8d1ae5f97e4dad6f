// Package redact masks a value by a constant word, so that nothing of it remains, not
// even its length.
package redact

// Text is what stands in place of a value.
const Text = "[redacted]"

// Func replaces every value by Text.
type Func struct{}

// Mask appends Text to dst.
func (Func) Mask(dst, _ []byte) ([]byte, bool, error) { return append(dst, Text...), false, nil }
