package sftp

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// Packet types of draft-ietf-secsh-filexfer-02, section 3.
const (
	typeInit          = 1
	typeVersion       = 2
	typeOpen          = 3
	typeClose         = 4
	typeRead          = 5
	typeWrite         = 6
	typeLstat         = 7
	typeFstat         = 8
	typeSetstat       = 9
	typeFsetstat      = 10
	typeOpendir       = 11
	typeReaddir       = 12
	typeRemove        = 13
	typeMkdir         = 14
	typeRmdir         = 15
	typeRealpath      = 16
	typeStat          = 17
	typeRename        = 18
	typeReadlink      = 19
	typeSymlink       = 20
	typeStatus        = 101
	typeHandle        = 102
	typeData          = 103
	typeName          = 104
	typeAttrs         = 105
	typeExtended      = 200
	typeExtendedReply = 201
)

// Codes of SSH_FXP_STATUS, section 7.
const (
	codeOK               = 0
	codeEOF              = 1
	codeNoSuchFile       = 2
	codePermissionDenied = 3
	codeFailure          = 4
	codeBadMessage       = 5
	codeUnsupported      = 8
)

// Flags of SSH_FXP_OPEN, section 6.3.
const (
	flagRead   = 0x01
	flagWrite  = 0x02
	flagAppend = 0x04
	flagCreate = 0x08
	flagTrunc  = 0x10
	flagExcl   = 0x20
)

// Flags of ATTRS, section 5.
const (
	attrSize     = 0x01
	attrOwner    = 0x02
	attrMode     = 0x04
	attrTimes    = 0x08
	attrExtended = 0x80000000

	modeType      = 0o170000
	modeDirectory = 0o040000
	modeSymlink   = 0o120000
)

const (
	version = 3
	// maxPacket is OpenSSH's SFTP_MAX_MSG_LENGTH, the length behind the length field.
	maxPacket = 256 << 10
	// maxData is what OpenSSH reads and writes at most with one request.
	maxData   = maxPacket - 1024
	maxPath   = 4096
	maxHandle = 256 // section 6.2
	// headerLength is that of the length, the type and the number.
	headerLength = 4 + 1 + 4
)

// cursor reads the fields of a packet. What it returns refers to the packet.
type cursor struct {
	rest []byte
	bad  bool // a field was cut short
}

func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.rest) {
		c.bad, c.rest = true, nil
		return nil
	}
	field := c.rest[:n:n]
	c.rest = c.rest[n:]
	return field
}

func (c *cursor) uint32() uint32 {
	if field := c.take(4); field != nil {
		return binary.BigEndian.Uint32(field)
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	if field := c.take(8); field != nil {
		return binary.BigEndian.Uint64(field)
	}
	return 0
}

func (c *cursor) bytes() []byte {
	n := c.uint32()
	if n > maxPacket {
		c.bad = true
	}
	return c.take(int(n))
}

// ended tells whether the packet was read to its end and not beyond.
func (c *cursor) ended() bool { return !c.bad && len(c.rest) == 0 }

// attributes reads ATTRS. known is false for attributes that version 3 does not have.
func (c *cursor) attributes() (a files.Attributes, known bool) {
	flags := c.uint32()
	if a.HasSize = flags&attrSize != 0; a.HasSize {
		a.Size = c.uint64()
	}
	if a.HasOwner = flags&attrOwner != 0; a.HasOwner {
		a.UID, a.GID = c.uint32(), c.uint32()
	}
	if a.HasMode = flags&attrMode != 0; a.HasMode {
		a.Mode = c.uint32()
	}
	if a.HasTimes = flags&attrTimes != 0; a.HasTimes {
		a.AccessTime, a.ModificationTime = time.Unix(int64(c.uint32()), 0).UTC(), time.Unix(int64(c.uint32()), 0).UTC()
	}
	if flags&attrExtended != 0 {
		for n := c.uint32(); n > 0 && !c.bad; n-- {
			c.bytes()
			c.bytes()
		}
	}
	return a, flags&^(attrSize|attrOwner|attrMode|attrTimes) == 0
}

// packet writes one. begin reserves the length, finish sets it.
type packet []byte

func begin(to packet, typ byte, id uint32) packet {
	to = append(to, 0, 0, 0, 0, typ)
	return to.uint32(id)
}

func (p packet) uint32(v uint32) packet { return binary.BigEndian.AppendUint32(p, v) }
func (p packet) uint64(v uint64) packet { return binary.BigEndian.AppendUint64(p, v) }

func (p packet) text(s string) packet { return append(p.uint32(uint32(len(s))), s...) }

// finish sets the length of the packet that began at an offset.
func (p packet) finish(began int) packet {
	binary.BigEndian.PutUint32(p[began:], uint32(len(p)-began-4))
	return p
}

// statusPacket is an SSH_FXP_STATUS.
func statusPacket(id, code uint32, message string) packet {
	return begin(nil, typeStatus, id).uint32(code).text(bounded(message)).text("").finish(0)
}

// bounded cuts a message to what fits well in a packet, as UTF-8.
func bounded(message string) string {
	const most = 1024
	if len(message) > most {
		message = message[:most]
	}
	return strings.ToValidUTF8(message, "?")
}

// reason says a status code of the server.
func reason(code uint32) string {
	switch code {
	case codeEOF:
		return "end of file"
	case codeNoSuchFile:
		return "no such file"
	case codePermissionDenied:
		return "permission denied by the target"
	case codeFailure:
		return "failure"
	case codeBadMessage:
		return "bad message"
	case codeUnsupported:
		return "operation unsupported by the target"
	}
	return fmt.Sprintf("status %d", code)
}
