// Package masking replaces values. A function masks the text form of one value; a Plan
// masks the rows of one result by the positions of their columns.
//
// Nothing here returns the original on an error: an error withholds the row.
package masking

// Func masks one value. It is immutable and safe for concurrent use.
type Func interface {
	// Mask appends the masked form of src to dst and returns the result. null says that the
	// masked value is NULL; then the result is dst unchanged. The result never aliases src.
	// src is the value's text in UTF-8; a Func must cope with any bytes. An error withholds
	// the row.
	Mask(dst, src []byte) (out []byte, null bool, err error)
}
