package credentials

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Iterations is the iteration count of every verifier. The passwords have 256 bits, so it
// need not slow anybody down; it is what PostgreSQL itself uses.
const Iterations = 4096

const (
	scramMechanism = "SCRAM-SHA-256"
	saltSize       = 16
)

// SCRAM is a verifier of RFC 5803. It recognises a password and admits nobody.
type SCRAM struct {
	Iterations int
	Salt       []byte
	StoredKey  [sha256.Size]byte
	ServerKey  [sha256.Size]byte
}

// Salt returns the salt of every credential of a grant. It is the same for all of them,
// because a server has to send it before it knows which one the client holds: while a
// rotation overlaps it can check the proof against each. Salts keep equal passwords from
// looking equal, and these passwords are random.
func Salt(grantUID types.UID) []byte {
	sum := sha256.Sum256([]byte("cardea salt\x00" + string(grantUID)))
	return sum[:saltSize]
}

// NewSCRAM derives the verifier of a password.
func NewSCRAM(password string, salt []byte, iterations int) (SCRAM, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return SCRAM{}, fmt.Errorf("derive SCRAM key: %w", err)
	}
	mac := func(message string) []byte {
		m := hmac.New(sha256.New, salted)
		m.Write([]byte(message))
		return m.Sum(nil)
	}
	s := SCRAM{Iterations: iterations, Salt: salt, StoredKey: sha256.Sum256(mac("Client Key"))}
	copy(s.ServerKey[:], mac("Server Key"))
	return s, nil
}

// String returns the form in which PostgreSQL keeps a verifier.
func (s SCRAM) String() string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", scramMechanism, s.Iterations, b64(s.Salt), b64(s.StoredKey[:]), b64(s.ServerKey[:]))
}

// ErrVerifier is the error of a verifier that is not in PostgreSQL's form.
var ErrVerifier = errors.New("not a SCRAM-SHA-256 verifier")

// ParseSCRAM parses the form of String. The iteration count is bounded, so that no
// verifier makes a client or the server compute for long.
func ParseSCRAM(v string) (SCRAM, error) {
	parts := strings.Split(v, "$")
	if len(parts) != 3 || parts[0] != scramMechanism {
		return SCRAM{}, ErrVerifier
	}
	count, salt, ok := strings.Cut(parts[1], ":")
	stored, server, ok2 := strings.Cut(parts[2], ":")
	if !ok || !ok2 {
		return SCRAM{}, ErrVerifier
	}
	var s SCRAM
	var err error
	if s.Iterations, err = strconv.Atoi(count); err != nil || s.Iterations < Iterations || s.Iterations > 1<<20 {
		return SCRAM{}, ErrVerifier
	}
	if s.Salt, err = base64.StdEncoding.DecodeString(salt); err != nil || len(s.Salt) == 0 {
		return SCRAM{}, ErrVerifier
	}
	if !decodeKey(&s.StoredKey, stored) || !decodeKey(&s.ServerKey, server) {
		return SCRAM{}, ErrVerifier
	}
	return s, nil
}

func decodeKey(dst *[sha256.Size]byte, src string) bool {
	b, err := base64.StdEncoding.DecodeString(src)
	return err == nil && copy(dst[:], b) == sha256.Size && len(b) == sha256.Size
}
