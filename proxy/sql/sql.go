// Package sql holds what is known of SQL statements independent of a dialect: their
// kinds, the relations and functions they use, and where each output column comes
// from. A dialect's analyser, in a folder of its own, produces it; package policy
// decides on it; an engine masks by it.
//
// Nothing here guesses. What an analyser cannot establish it reports as unknown, and
// unknown is denied. Zero values say "unknown": a zero Facts is not Known, a zero
// Output is withheld.
package sql

// Kind is a kind of statement, named after its leading keyword. The values are those of
// SQLStatement in the API; the zero value is an unknown statement.
type Kind string

// Group is a group of kinds. The values are those of SQLGroup in the API; the zero value
// is unknown and needs more than any access level.
type Group string

// The groups of statements.
const (
	GroupRead           Group = "Read"
	GroupWrite          Group = "Write"
	GroupDefinition     Group = "Definition"
	GroupPrivilege      Group = "Privilege"
	GroupSession        Group = "Session"
	GroupTransaction    Group = "Transaction"
	GroupAdministration Group = "Administration"
)

// MaskRef names a mask of the policy that was in force during the analysis. Zero is no
// mask.
type MaskRef uint32

// WholeValue is set in a MaskRef and says that the output is made of a masked column's value and
// hidden whole, whatever the mask shows of the column itself.
const WholeValue MaskRef = 1 << 31

// Hidden is the MaskRef of columns that no rule needs to name and nobody sees on a target with
// masks, because values of other columns may stand in them: they are NULL.
const Hidden = WholeValue - 1

// Columns tells which columns are masked. Implementations are immutable and safe for
// concurrent use.
type Columns interface {
	// Empty reports whether no column is masked at all; then lineage is not needed.
	Empty() bool
	// Mask returns the mask of a column by the names under which the catalog knows it; zero
	// if it has none.
	Mask(schema, table, column string) MaskRef
	// Uses returns what a column with this mask may be used for besides plain output.
	Uses(ref MaskRef) Uses
	// Names returns the patterns by which columns are masked.
	Names() []ColumnName
	// Functions are those of users that may be called although columns are masked.
	Functions() []PinnedFunction
}

// PinnedFunction is a function that somebody has read and found to tell nothing of masked
// values. Several of one signature admit each of their digests.
type PinnedFunction struct {
	Schema, Name string
	// Arguments are the types of its arguments as the rule has them.
	Arguments []string
	// SHA256 is the digest of its definition in hexadecimal; empty for any.
	SHA256 string
}

// ColumnName names columns; in a pattern each part is a glob, in which "*" stands for any
// run of characters, and letter case does not count.
type ColumnName struct{ Schema, Table, Column string }

// Uses are what a rule admits for masked columns besides plain output. The zero value
// admits nothing.
type Uses struct {
	// Equality admits comparisons with constants and parameters by = and IN.
	Equality bool
	// MaskedExpressions admits total functions of text in the output, whose results are
	// masked like the column.
	MaskedExpressions bool
	// Nulls says that what is shown of a column of text is NULL where the value is, and nowhere
	// else: then whether it is one is no secret.
	Nulls bool
}

// Relation is a table, view or other relation that a statement uses.
type Relation struct {
	Schema string // empty if the statement names none and no catalog was asked
	Name   string // empty if it is not named: any relation of the schema, as in DROP SCHEMA
	OID    uint32 // zero if no catalog was asked
	Write  bool   // rows or definition are changed
}

// Function is a function or procedure that a statement calls by name.
type Function struct {
	Schema string // empty if the statement names none
	Name   string
}

// Output is one output column. The zero value is of unknown origin and must be withheld.
type Output struct {
	Known bool
	Mask  MaskRef // zero: shown as it is
}

// Lines are the lines by which rows are copied out, and how their fields are parted.
type Lines struct {
	Columns []LineColumn
	// CSV says that values may stand between quotes, in which a quote is doubled; otherwise
	// what is special is escaped by a backslash.
	CSV       bool
	Header    bool // the first line holds names
	Delimiter byte
	Null      string // what stands for NULL, as it is
}

// LineColumn is a column of Lines.
type LineColumn struct {
	Mask MaskRef // zero: shown as it is
	Type uint32  // the OID of its type; zero if it is not known
}

// Node is one statement of a command or one nested in it: a CTE's body, what EXPLAIN
// explains, what PREPARE prepares.
type Node struct {
	Kind       Kind
	Group      Group
	Object     string // what a definition is about: Database, Table, Role …; empty if it has none
	Unfiltered bool   // UPDATE or DELETE without an effective WHERE clause, or TRUNCATE
}

// ComparedParameter is a parameter that is compared with a masked column. Of another type
// than one of Types it would be compared by a coarser equality, which tells of ranges.
type ComparedParameter struct {
	Number int      // counted from 1
	Types  []uint32 // by the dialect's own numbers
}

// Span is a range of bytes of the command's text.
type Span struct{ Start, End int }

// FaultKind is a fault of the client's that the server itself would find, and that programs
// act on.
type FaultKind string

// The faults.
const (
	FaultSyntax     FaultKind = "Syntax"     // the text does not parse
	FaultNoRelation FaultKind = "NoRelation" // it names a relation that does not exist, or cannot be seen
	FaultNoColumn   FaultKind = "NoColumn"   // it names a column that does not exist
	FaultNoDatabase FaultKind = "NoDatabase" // the session is for a database that does not exist
)

// Fault is what its author may mend about a text that is refused. The zero value says
// nothing.
type Fault struct {
	Kind     FaultKind
	Position int    // in the text, in characters from 1; zero if it is not known
	Advice   string // what to do, a safe sentence; empty for the usual advice
}

// Facts is what is known of one command, which may hold several statements. The zero
// value says that nothing is known.
type Facts struct {
	// Known says that the whole command was understood. If it is false, Unknown says why in
	// a sentence that is safe to show: it names no literal.
	Known   bool
	Unknown string

	// Statements is how many top-level statements the command has; zero for an empty one.
	Statements int
	// Nodes are all statements, nested ones included.
	Nodes []Node
	// Relations and Functions of the whole command, each once.
	Relations []Relation
	Functions []Function
	// Attributes are the names behind a dot, each once: x.f is a column of x or the call f(x),
	// which the text alone does not tell. A rule that refuses takes them for functions.
	Attributes []string

	// Definitions is the analyser's own note of the catalog entries it relied on, to verify
	// them again before execution; nil if it relied on none.
	Definitions any

	// Features are constructs that baseline rules name, such as "CopyProgram" or
	// "ServerFile"; the dialect's package documents them.
	Features []string

	// SetsPath says that the command may change the path by which names of later commands are
	// looked up.
	SetsPath bool

	// Outputs are the columns of the rows that the command returns, nil if it returns none.
	// They are established for a command with one statement on a target with masks.
	Outputs []Output
	// Lines are what COPY TO sends, where columns of it are masked; nil otherwise.
	Lines *Lines
	// MaskViolation is set where the command uses a masked column other than as a plain
	// output, or does something whose lineage is not established, on a target with masks: a
	// safe sentence naming the construct.
	MaskViolation string
	// MaskedColumn is the column behind MaskViolation as SCHEMA.TABLE.COLUMN, if there is
	// one.
	MaskedColumn string

	// Fault says more about Unknown or MaskViolation, for the author of the text.
	Fault Fault

	// Compared are the parameters that are compared with masked columns.
	Compared []ComparedParameter

	// Lexed says that Literals are complete: the spans of every constant and comment in the
	// text, in order. Sensitive says that some may belong to a masked column or be a
	// credential: recordings and approval requests then replace them all, and the whole
	// text if it was not Lexed.
	Lexed     bool
	Literals  []Span
	Sensitive bool
	// SensitiveParameters says the same of bound parameters.
	SensitiveParameters bool
}
