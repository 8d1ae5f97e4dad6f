package recording

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// appendEvent appends e as one line of JSON, newline included. What a session has
// much of is written without reflection; the result decodes to what encoding/json would have
// written. Bytes that are not UTF-8 become U+FFFD.
func appendEvent(dst []byte, e *Event) ([]byte, error) {
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendUint(dst, e.Sequence, 10)
	dst = append(dst, `,"time":"`...)
	dst = e.Time.AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","kind":`...)
	dst = appendString(dst, string(e.Kind))
	if e.Connection != 0 {
		dst = append(dst, `,"conn":`...)
		dst = strconv.AppendUint(dst, uint64(e.Connection), 10)
	}
	switch {
	case e.Kind == KindCommand && e.Command != nil:
		return append(appendCommand(append(dst, `,"command":`...), e.Command), '}', '\n'), nil
	case e.Kind == KindResponse && e.Response != nil:
		return append(appendResponse(append(dst, `,"response":`...), e.Response), '}', '\n'), nil
	case e.Kind == KindInput && e.Input != nil:
		return append(appendInput(append(dst, `,"input":`...), e.Input), '}', '\n'), nil
	case e.Kind == KindOutput && e.Output != nil:
		return append(appendOutput(append(dst, `,"output":`...), e.Output), '}', '\n'), nil
	}
	content := rareContent(e)
	if content == nil {
		return nil, fmt.Errorf("encode event: its kind %q has no content", e.Kind)
	}
	b, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	dst = append(dst, `,"`...)
	dst = append(dst, e.Kind...)
	dst = append(dst, `":`...)
	return append(append(dst, b...), '}', '\n'), nil
}

// rareContent returns what an event of the kinds that are rare holds; nil if that is not
// what its kind says.
func rareContent(e *Event) any {
	switch {
	case e.Kind == KindStarted && e.Started != nil:
		return e.Started
	case e.Kind == KindConnected && e.Connected != nil:
		return e.Connected
	case e.Kind == KindHeld && e.Held != nil:
		return e.Held
	case e.Kind == KindMessage && e.Message != nil:
		return e.Message
	case e.Kind == KindDisconnected && e.Disconnected != nil:
		return e.Disconnected
	case e.Kind == KindEnded && e.Ended != nil:
		return e.Ended
	}
	return nil
}

func appendCommand(dst []byte, c *Command) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, c.ID, 10)
	// The decision stands before all that may be long: see tallyOf.
	dst = appendString(append(dst, `,"decision":`...), c.Decision)
	dst = appendString(append(dst, `,"text":`...), c.Text)
	dst = appendStrings(dst, `,"params":`, c.Parameters)
	dst = appendField(dst, `,"digest":`, c.Digest)
	dst = appendField(dst, `,"code":`, c.Code)
	dst = appendField(dst, `,"rule":`, c.Rule)
	dst = appendField(dst, `,"message":`, c.Message)
	dst = appendStrings(dst, `,"audit":`, c.Audit)
	dst = appendField(dst, `,"request":`, c.Request)
	dst = appendStrings(dst, `,"approvers":`, c.Approvers)
	return append(dst, '}')
}

func appendResponse(dst []byte, r *Response) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, r.ID, 10)
	dst = appendStrings(dst, `,"columns":`, r.Columns)
	dst = appendRows(dst, r.Rows)
	if len(r.Masked) > 0 {
		dst = append(dst, `,"masked":`...)
		sep := byte('[')
		for _, i := range r.Masked {
			dst = strconv.AppendInt(append(dst, sep), int64(i), 10)
			sep = ','
		}
		dst = append(dst, ']')
	}
	dst = appendFlag(dst, `,"final":true`, r.Final)
	dst = appendField(dst, `,"tag":`, r.Tag)
	dst = appendCount(dst, `,"rowCount":`, r.RowCount)
	dst = appendCount(dst, `,"byteCount":`, r.ByteCount)
	dst = appendFlag(dst, `,"truncated":true`, r.Truncated)
	dst = appendCount(dst, `,"detected":`, r.Detected)
	dst = appendField(dst, `,"sqlstate":`, r.SQLState)
	dst = appendField(dst, `,"error":`, r.Error)
	dst = appendFlag(dst, `,"unknown":true`, r.Unknown)
	return append(dst, '}')
}

func appendInput(dst []byte, i *Input) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, i.ID, 10)
	dst = appendField(dst, `,"stream":`, i.Stream)
	dst = appendData(dst, i.Data)
	dst = appendFlag(dst, `,"final":true`, i.Final)
	dst = appendCount(dst, `,"byteCount":`, i.ByteCount)
	dst = appendFlag(dst, `,"truncated":true`, i.Truncated)
	return append(dst, '}')
}

func appendOutput(dst []byte, o *Output) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, o.ID, 10)
	dst = appendString(append(dst, `,"stream":`...), o.Stream)
	dst = appendData(dst, o.Data)
	dst = appendFlag(dst, `,"truncated":true`, o.Truncated)
	return append(dst, '}')
}

// appendData appends bytes in base64 (RFC 4648, section 4), as encoding/json does.
func appendData(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	return append(base64.StdEncoding.AppendEncode(append(dst, `,"data":"`...), data), '"')
}

func appendRows(dst []byte, rows [][]*string) []byte {
	if len(rows) == 0 {
		return dst
	}
	dst = append(dst, `,"rows":[`...)
	for i, row := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		if row == nil {
			dst = append(dst, `null`...)
			continue
		}
		dst = append(dst, '[')
		for j, v := range row {
			if j > 0 {
				dst = append(dst, ',')
			}
			if v == nil {
				dst = append(dst, `null`...)
			} else {
				dst = appendString(dst, *v)
			}
		}
		dst = append(dst, ']')
	}
	return append(dst, ']')
}

// The following append a field with its key if it is not empty, like omitempty.

func appendField(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(append(dst, key...), value)
}

func appendStrings(dst []byte, key string, values []string) []byte {
	if len(values) == 0 {
		return dst
	}
	dst = append(dst, key...)
	sep := byte('[')
	for _, v := range values {
		dst = appendString(append(dst, sep), v)
		sep = ','
	}
	return append(dst, ']')
}

func appendCount(dst []byte, key string, n int64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, key...), n, 10)
}

func appendFlag(dst []byte, field string, set bool) []byte {
	if !set {
		return dst
	}
	return append(dst, field...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259, section 7).
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(append(dst, s[start:i]...), "\uFFFD"...)
		} else {
			dst = appendEscape(append(dst, s[start:i]...), c)
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}
