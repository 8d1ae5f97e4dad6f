package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// The codes in place of a protocol version (PostgreSQL documentation, "Message Formats").
const (
	codeCancel    = 80877102
	codeSSL       = 80877103
	codeGSSENC    = 80877104
	protocolMajor = 3
	protocol30    = 3 << 16
	protocol32    = 3<<16 | 2
)

const (
	// maxStartup is the server's own bound on a start-up packet.
	maxStartup = 10000
	// maxParameters bounds the settings of a start-up message.
	maxParameters = 64
	// maxName is the longest name PostgreSQL keeps without cutting it (NAMEDATALEN - 1).
	maxName = 63
)

var (
	errStartup = errors.New("malformed start-up packet")
	errVersion = errors.New("unsupported protocol version")
)

// readPacket reads one start-up packet, which has no type, and returns its code and the
// rest. It reads not one byte beyond.
func readPacket(r io.Reader) (code uint32, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, fmt.Errorf("read start-up packet: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 8 || n > maxStartup {
		return 0, nil, errStartup
	}
	body = make([]byte, n-8)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, fmt.Errorf("read start-up packet: %w", err)
	}
	return binary.BigEndian.Uint32(head[4:]), body, nil
}

// startup is what a client said in its start-up message.
type startup struct {
	minor      int // of the protocol that is spoken: 0 or 2, or as the client asked for
	negotiate  bool
	unknown    []string // protocol options that are not known
	user       string
	database   string
	parameters []parameter // the others, in order
}

type parameter struct{ name, value string }

// parseStartup parses the body of a start-up message. A newer minor version and unknown
// protocol options are negotiated down.
func parseStartup(code uint32, body []byte) (*startup, error) {
	if code>>16 != protocolMajor {
		return nil, errVersion
	}
	s := &startup{minor: int(code & 0xffff)}
	if s.minor > protocol32&0xffff {
		s.minor, s.negotiate = protocol32&0xffff, true
	}
	seen := map[string]bool{}
	for {
		name, rest, ok := cutString(body)
		if !ok {
			return nil, errStartup
		}
		if name == "" {
			if len(rest) != 0 {
				return nil, errStartup
			}
			break
		}
		value, rest, ok := cutString(rest)
		if !ok || seen[name] || len(seen) == maxParameters || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, errStartup
		}
		seen[name] = true
		body = rest
		s.set(name, value)
	}
	if s.database == "" {
		s.database = s.user
	}
	if s.user == "" || len(s.user) > maxName || len(s.database) > maxName || len(s.parameters) > maxParameters {
		return nil, errStartup
	}
	return s, nil
}

// set takes what the message says of one name.
func (s *startup) set(name, value string) {
	switch {
	case name == "user":
		s.user = value
	case name == "database":
		s.database = value
	case strings.HasPrefix(name, "_pq_."):
		s.unknown, s.negotiate = append(s.unknown, name), true
	case strings.EqualFold(name, "options"):
		// What is said by itself overrides what options say, as on the server.
		if list, ok := optionSettings(value); ok {
			s.parameters = append(list, s.parameters...)
			return
		}
		s.parameters = append(s.parameters, parameter{"options", value})
	default:
		s.parameters = append(s.parameters, parameter{name, value})
	}
}

// get returns a setting of the start-up message, the last if there are several; names are
// compared as the server does.
func (s *startup) get(name string) string {
	for _, p := range slices.Backward(s.parameters) {
		if strings.EqualFold(p.name, name) {
			return p.value
		}
	}
	return ""
}

// cutString cuts a string that ends with a zero byte off b.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", nil, false
	}
	return string(b[:i]), b[i+1:], true
}

// negotiation is the NegotiateProtocolVersion message that answers s.
func (s *startup) negotiation() []byte {
	m := beginMessage(nil, 'v')
	m = binary.BigEndian.AppendUint32(m, uint32(protocolMajor<<16|s.minor))
	m = binary.BigEndian.AppendUint32(m, uint32(len(s.unknown)))
	for _, name := range s.unknown {
		m = appendString(m, name)
	}
	return endMessage(m, 0)
}

// parseCancel parses the body of a CancelRequest.
func parseCancel(body []byte) (pid uint32, secret []byte, ok bool) {
	if len(body) < 4+secretSize30 || len(body) > 4+maxSecret {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(body), body[4:], true
}
