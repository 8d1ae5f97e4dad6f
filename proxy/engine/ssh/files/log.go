package files

import (
	"crypto/sha256"
	"fmt"
)

// Result is how an operation ended.
type Result string

// The results.
const (
	// Succeeded: the server did it.
	Succeeded Result = "Succeeded"
	// Failed: the server was asked and did not do it.
	Failed Result = "Failed"
	// Refused: the gate or its guard refused, and nothing was forwarded.
	Refused Result = "Refused"
	// Unresolved: the server had no real path for it, so that nothing was judged or forwarded.
	Unresolved Result = "Unresolved"
	// Unknown: it was forwarded, and the transfer ended before its answer came.
	Unknown Result = "Unknown"
)

// Outcome is what came of an operation.
type Outcome struct {
	Operation Operation
	Result    Result
	// Reason says in the gate's words why it did not succeed.
	Reason string
	// Transfer is what passed through a file or directory that was open; nil for everything else.
	Transfer *Transfer
}

// Transfer is what passed between opening and closing.
type Transfer struct {
	Read, Written Content
	// Entries counts the names that were read of a directory.
	Entries int64
	// Closed is false if the transfer ended with the file open.
	Closed bool
}

// Content is what passed in one direction. Of what was written only bytes that the server
// acknowledged count.
type Content struct {
	Bytes int64
	// SHA256 is the digest of the bytes. It is there only if Sequential is.
	SHA256 [sha256.Size]byte
	// Sequential: everything passed once, in order, from the file's beginning. What a file
	// held behind the last byte that was written is not known.
	Sequential bool
	// ToEnd: reading met the end of the file behind the last byte.
	ToEnd bool
}

// String says the outcome in a line without control characters.
func (o *Outcome) String() string {
	text := o.Operation.String()
	if t := o.Transfer; t != nil {
		if o.Operation.Action == List {
			text += fmt.Sprintf(": %d names", t.Entries)
		}
		text += t.Read.text("read") + t.Written.text("written")
		if !t.Closed {
			text += ", not closed"
		}
	}
	if o.Result != Succeeded {
		text += fmt.Sprintf(": %s", o.Result)
		if o.Reason != "" {
			text += fmt.Sprintf(" (%q)", o.Reason)
		}
	}
	return text
}

func (c *Content) text(how string) string {
	switch {
	case c.Bytes == 0:
		return ""
	case c.Sequential:
		return fmt.Sprintf(", %d bytes %s, SHA-256 %x", c.Bytes, how, c.SHA256)
	}
	return fmt.Sprintf(", %d bytes %s, not in order", c.Bytes, how)
}

// Log is told what came of operations, of each exactly once: of an Open or List that succeeded
// when it is closed, or when the transfer ends; of everything else before the client has the
// answer.
type Log interface {
	// Done takes an outcome. It is not called concurrently. An error ends the transfer.
	Done(Outcome) error
}
