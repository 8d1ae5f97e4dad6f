package recording

import (
	"time"
)

// EventKind is the kind of an Event and the name of the field that holds its content.
type EventKind string

// The kinds of events.
const (
	// KindStarted is the first event of a recording.
	KindStarted EventKind = "started"
	// KindConnected begins a connection.
	KindConnected EventKind = "connected"
	// KindCommand is a command with the decision on it, recorded before it is forwarded, or
	// when it is refused.
	KindCommand EventKind = "command"
	// KindHeld is a command that awaits approval.
	KindHeld EventKind = "held"
	// KindResponse is a part of what came back, after masking, recorded before it is sent to
	// the client.
	KindResponse EventKind = "response"
	// KindInput is a part of the data that a client sends to a command, recorded before it is
	// forwarded.
	KindInput EventKind = "input"
	// KindOutput is a part of the bytes of a response, recorded before it is sent to the client.
	KindOutput EventKind = "output"
	// KindMessage is what a target says without being asked, recorded before it is sent to the
	// client.
	KindMessage EventKind = "message"
	// KindDisconnected ends a connection.
	KindDisconnected EventKind = "disconnected"
	// KindEnded is the last event of a recording.
	KindEnded EventKind = "ended"
)

// Event is one event of a session. Exactly the field that its Kind names is set. Values
// hold no unmasked masked value and no credential: whoever makes an Event sees to that.
type Event struct {
	// Sequence counts from 1 without gaps; set by the Recorder.
	Sequence uint64 `json:"seq"`
	// Time of the event in UTC; set by the Recorder if zero.
	Time time.Time `json:"time"`
	Kind EventKind `json:"kind"`
	// Connection counts the connections of a session from 1; zero for the session itself.
	Connection uint32 `json:"conn,omitempty"`

	Started      *Started      `json:"started,omitempty"`
	Connected    *Connected    `json:"connected,omitempty"`
	Command      *Command      `json:"command,omitempty"`
	Held         *Held         `json:"held,omitempty"`
	Response     *Response     `json:"response,omitempty"`
	Input        *Input        `json:"input,omitempty"`
	Output       *Output       `json:"output,omitempty"`
	Message      *Message      `json:"message,omitempty"`
	Disconnected *Disconnected `json:"disconnected,omitempty"`
	Ended        *Ended        `json:"ended,omitempty"`
}

// Started says who reached what.
type Started struct {
	Schema    int    `json:"schema"` // version of this format: 1
	Session   string `json:"session"`
	Namespace string `json:"namespace"`
	Grant     string `json:"grant"`
	GrantUID  string `json:"grantUID"`
	Target    string `json:"target"`
	TargetUID string `json:"targetUID"`
	Subject   string `json:"subject"`
	Reason    string `json:"reason,omitempty"`
	Client    string `json:"client"`
	Proxy     string `json:"proxy"`
	// Store is the RecordingStore's name; empty for the default store.
	Store string `json:"store,omitempty"`
}

// Connected says how a connection signed in.
type Connected struct {
	Engine      string `json:"engine"`
	Client      string `json:"client"` // address and port
	Credential  string `json:"credential"`
	Database    string `json:"database,omitempty"`
	Application string `json:"application,omitempty"`
}

// Command is a command and the decision on it.
type Command struct {
	// ID counts the commands of a session from 1; responses refer to it.
	ID uint64 `json:"id"`
	// Decision is Allowed, Denied, Approved, or Prepared: sent to be prepared, not executed.
	Decision   string   `json:"decision"`
	Text       string   `json:"text"`
	Parameters []string `json:"params,omitempty"`
	// Digest is the keyed SHA-256 of the exact bytes in hex, set where Text is not all of them:
	// without the key nobody can try what was redacted.
	Digest string `json:"digest,omitempty"`
	// Code, Rule and Message of a refusal; Rule also for other decisions by a rule.
	Code    string   `json:"code,omitempty"`
	Rule    string   `json:"rule,omitempty"`
	Message string   `json:"message,omitempty"`
	Audit   []string `json:"audit,omitempty"`
	// Request is the ApprovalRequest and Approvers who approved.
	Request   string   `json:"request,omitempty"`
	Approvers []string `json:"approvers,omitempty"`
}

// Held is a command that awaits approval.
type Held struct {
	ID      uint64 `json:"id"`
	Text    string `json:"text"`
	Rule    string `json:"rule"`
	Request string `json:"request"`
}

// Response is a part of the response to a command. Rows are kept up to the bounds of the
// RecordingStore and counted beyond.
type Response struct {
	ID      uint64   `json:"id"`
	Columns []string `json:"columns,omitempty"`
	// Rows hold values as text after masking; a nil value is NULL. Masked lists the masked
	// columns by index.
	Rows   [][]*string `json:"rows,omitempty"`
	Masked []int       `json:"masked,omitempty"`
	// Final marks the last part. Tag is the command tag; RowCount and ByteCount count the
	// whole response; Truncated says that rows were not kept.
	Final     bool   `json:"final,omitempty"`
	Tag       string `json:"tag,omitempty"`
	RowCount  int64  `json:"rowCount,omitempty"`
	ByteCount int64  `json:"byteCount,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
	// Detected counts, in the last part, what detectors replaced in the rows.
	Detected int64 `json:"detected,omitempty"`
	// SQLState and Error of a failed command; Unknown says that the outcome could not be
	// learned because the session ended first.
	SQLState string `json:"sqlstate,omitempty"`
	Error    string `json:"error,omitempty"`
	Unknown  bool   `json:"unknown,omitempty"`
}

// Input is a part of the data that a client sends to a command, as in COPY FROM STDIN. Data
// are kept up to the bounds that hold for responses, and counted beyond.
type Input struct {
	ID uint64 `json:"id"`
	// Stream is stdin or resize, for commands that have both; empty otherwise. The data of
	// resize are objects of Width and Height, in JSON.
	Stream string `json:"stream,omitempty"`
	Data   []byte `json:"data,omitempty"`
	// Final marks the last part. ByteCount counts all data; Truncated says that some were not
	// kept.
	Final     bool  `json:"final,omitempty"`
	ByteCount int64 `json:"byteCount,omitempty"`
	Truncated bool  `json:"truncated,omitempty"`
}

// Output is a part of the bytes that come back to a command, as they are sent to the client:
// after masking. They are kept up to the bounds that hold for responses, and counted beyond;
// the Response that ends the command counts all of them.
type Output struct {
	ID uint64 `json:"id"`
	// Stream is body, stdout, stderr or error.
	Stream string `json:"stream"`
	Data   []byte `json:"data,omitempty"`
	// Truncated says that some before or of this part were not kept.
	Truncated bool `json:"truncated,omitempty"`
}

// Message is what a target says without being asked. It can come at any time.
type Message struct {
	Kind     string `json:"kind"` // Notice or Notification
	Severity string `json:"severity,omitempty"`
	SQLState string `json:"sqlstate,omitempty"`
	Channel  string `json:"channel,omitempty"`
	Text     string `json:"text,omitempty"`
	// Truncated says that some of it was not kept, and Cut how many messages were not since the
	// one before.
	Truncated bool  `json:"truncated,omitempty"`
	Cut       int64 `json:"cut,omitempty"`
}

// Disconnected says why a connection ended.
type Disconnected struct {
	Reason string `json:"reason"`
}

// Ended says why a session ended.
type Ended struct {
	Reason string `json:"reason"`
	// Recovered says that the process that carried the session died and another one closed
	// the recording.
	Recovered bool `json:"recovered,omitempty"`
}
