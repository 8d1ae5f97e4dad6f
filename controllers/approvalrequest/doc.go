// Package approvalrequest tells of an ApprovalRequest what became of it, by the tally that
// the proxy counts with, and deletes requests that lapsed a day ago. It never decides.
package approvalrequest
