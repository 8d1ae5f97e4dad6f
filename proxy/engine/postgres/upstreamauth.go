package postgres

import (
	"crypto/md5" //nolint:gosec // PostgreSQL's old password hash; sent inside TLS only
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/cardea-dev/cardea/proxy/session"
)

// md5Password is the answer to AuthenticationMD5Password.
func md5Password(login session.Login, salt []byte) string {
	inner := md5.Sum([]byte(login.Password + login.Username))               //nolint:gosec // see the import
	outer := md5.Sum(append([]byte(hex.EncodeToString(inner[:])), salt...)) //nolint:gosec // see the import
	return "md5" + hex.EncodeToString(outer[:])
}

// errorField returns a field of an ErrorResponse or NoticeResponse; a SQLSTATE that is not
// one is empty.
func errorField(b []byte, code byte) string {
	r := body{b: b}
	for {
		c := r.byte()
		if c == 0 {
			return ""
		}
		value := string(r.string())
		if r.bad {
			return ""
		}
		if c != code {
			continue
		}
		if code == 'C' && !isState(value) {
			return ""
		}
		return value
	}
}

func isState(s string) bool {
	return len(s) == 5 && strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'A' || r > 'Z') }) < 0
}

// cancelRequest is the packet that cancels what the target runs for this connection.
func (u *upstream) cancelRequest() []byte {
	m := make([]byte, 4, 12+len(u.secret))
	m = binary.BigEndian.AppendUint32(m, codeCancel)
	m = binary.BigEndian.AppendUint32(m, u.pid)
	m = append(m, u.secret...)
	binary.BigEndian.PutUint32(m, uint32(len(m))) //nolint:gosec // some 16 bytes
	return m
}
