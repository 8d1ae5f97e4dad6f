package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"

	"github.com/cardea-dev/cardea/proxy/credentials"
)

// The mechanisms (RFC 7677; RFC 5929 for the binding).
const (
	mechanism       = "SCRAM-SHA-256"
	mechanismPlus   = "SCRAM-SHA-256-PLUS"
	bindingEndPoint = "tls-server-end-point"
	nonceSize       = 18
	// maxIterations bounds what a server may make the gate compute.
	maxIterations = 1 << 20
)

var errSCRAM = errors.New("SCRAM exchange failed")

// candidate is one of the credentials that a proof is checked against.
type candidate struct {
	id    string
	scram credentials.SCRAM
}

// scramServer is the server's side of one exchange (RFC 5802). All candidates have the
// same salt and iteration count; without candidates every proof is wrong.
type scramServer struct {
	salt       []byte
	iterations int
	candidates []candidate
	binding    []byte // of tls-server-end-point; empty if there is none
	plus       bool   // the client chose the mechanism with channel binding

	gs2         string
	clientFirst string // without the GS2 header
	nonce       string
	serverFirst string
}

// first answers the client's first message.
func (s *scramServer) first(message string, random io.Reader) (string, error) {
	flag, rest, ok := strings.Cut(message, ",")
	if !ok {
		return "", errSCRAM
	}
	authzid, bare, ok := strings.Cut(rest, ",")
	if !ok || (authzid != "" && !strings.HasPrefix(authzid, "a=")) {
		return "", errSCRAM
	}
	switch {
	case s.plus:
		if flag != "p="+bindingEndPoint || len(s.binding) == 0 {
			return "", errSCRAM
		}
	case flag == "n":
	case flag == "y" && len(s.binding) == 0:
		// A client that could bind, and was offered it, says "y" only if somebody in between
		// removed the offer.
	default:
		return "", errSCRAM
	}
	if authzid != "" {
		return "", errSCRAM // nobody acts as somebody else
	}
	user, rest, ok := strings.Cut(bare, ",")
	if !ok || !strings.HasPrefix(user, "n=") { // also refuses "m=", a mandatory extension
		return "", errSCRAM
	}
	nonce, _, _ := strings.Cut(rest, ",")
	clientNonce, ok := strings.CutPrefix(nonce, "r=")
	if !ok || !printable(clientNonce) {
		return "", errSCRAM
	}
	var own [nonceSize]byte
	if _, err := io.ReadFull(random, own[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	s.gs2, s.clientFirst = flag+",,", bare
	s.nonce = clientNonce + base64.StdEncoding.EncodeToString(own[:])
	s.serverFirst = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(s.salt) + ",i=" + strconv.Itoa(s.iterations)
	return s.serverFirst, nil
}

// final checks the client's final message. It returns the server's final message and the
// credential that the client has.
func (s *scramServer) final(message string) (answer, id string, err error) {
	at := strings.LastIndex(message, ",p=")
	if at < 0 {
		return "", "", errSCRAM
	}
	withoutProof := message[:at]
	proof, err := base64.StdEncoding.DecodeString(message[at+3:])
	if err != nil || len(proof) != sha256.Size {
		return "", "", errSCRAM
	}
	bound := []byte(s.gs2)
	if s.plus {
		bound = append(bound, s.binding...)
	}
	binding, rest, _ := strings.Cut(withoutProof, ",")
	nonce, _, _ := strings.Cut(rest, ",")
	if binding != "c="+base64.StdEncoding.EncodeToString(bound) || nonce != "r="+s.nonce {
		return "", "", errSCRAM
	}
	auth := []byte(s.clientFirst + "," + s.serverFirst + "," + withoutProof)
	var matched *candidate
	for i := range s.candidates {
		c := &s.candidates[i]
		signature := hmacSHA256(c.scram.StoredKey[:], auth)
		subtle.XORBytes(signature, signature, proof)
		stored := sha256.Sum256(signature)
		if hmac.Equal(stored[:], c.scram.StoredKey[:]) && matched == nil {
			matched = c
		}
	}
	if matched == nil {
		return "", "", errSCRAM
	}
	return "v=" + base64.StdEncoding.EncodeToString(hmacSHA256(matched.scram.ServerKey[:], auth)), matched.id, nil
}

// scramClient is the client's side of one exchange.
type scramClient struct {
	password string
	binding  []byte // of tls-server-end-point; empty without channel binding
	// unoffered says that the client would bind, had the server offered it: a server that did
	// offer it learns by that that somebody in between removed the offer.
	unoffered bool

	gs2       string
	bare      string
	nonce     string
	serverKey []byte
	auth      []byte
}

// first returns the client's first message.
func (c *scramClient) first(random io.Reader) (string, error) {
	var own [nonceSize]byte
	if _, err := io.ReadFull(random, own[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	switch {
	case len(c.binding) > 0:
		c.gs2 = "p=" + bindingEndPoint + ",,"
	case c.unoffered:
		c.gs2 = "y,,"
	default:
		c.gs2 = "n,,"
	}
	c.nonce = base64.StdEncoding.EncodeToString(own[:])
	c.bare = "n=,r=" + c.nonce // PostgreSQL takes the name from the start-up message
	return c.gs2 + c.bare, nil
}

// final answers the server's first message.
func (c *scramClient) final(serverFirst string) (string, error) {
	parts := strings.Split(serverFirst, ",")
	if len(parts) < 3 {
		return "", errSCRAM
	}
	nonce, ok1 := strings.CutPrefix(parts[0], "r=")
	encoded, ok2 := strings.CutPrefix(parts[1], "s=")
	count, ok3 := strings.CutPrefix(parts[2], "i=")
	salt, err1 := base64.StdEncoding.DecodeString(encoded)
	iterations, err2 := strconv.Atoi(count)
	if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || len(salt) == 0 || iterations < 1 || iterations > maxIterations ||
		len(nonce) <= len(c.nonce) || !strings.HasPrefix(nonce, c.nonce) {
		return "", errSCRAM
	}
	salted, err := pbkdf2.Key(sha256.New, preparePassword(c.password), salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive SCRAM key: %w", err)
	}
	bound := append([]byte(c.gs2), c.binding...)
	withoutProof := "c=" + base64.StdEncoding.EncodeToString(bound) + ",r=" + nonce
	c.auth = []byte(c.bare + "," + serverFirst + "," + withoutProof)
	clientKey := hmacSHA256(salted, []byte("Client Key"))
	c.serverKey = hmacSHA256(salted, []byte("Server Key"))
	stored := sha256.Sum256(clientKey)
	proof := hmacSHA256(stored[:], c.auth)
	subtle.XORBytes(proof, proof, clientKey)
	return withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// verify checks the server's final message: a server that does not know the password
// cannot make it.
func (c *scramClient) verify(serverFinal string) error {
	encoded, ok := strings.CutPrefix(serverFinal, "v=")
	if !ok || c.serverKey == nil {
		return errSCRAM
	}
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !hmac.Equal(signature, hmacSHA256(c.serverKey, c.auth)) {
		return errSCRAM
	}
	return nil
}

func hmacSHA256(key, message []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(message)
	return m.Sum(nil)
}

// printable reports whether s is a SCRAM nonce: visible ASCII without commas.
func printable(s string) bool {
	if s == "" || len(s) > 1024 {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e || s[i] == ',' {
			return false
		}
	}
	return true
}

// preparePassword applies SASLprep (RFC 4013) as PostgreSQL does: a password that it does
// not apply to is taken as it is.
func preparePassword(password string) string {
	if prepared, err := stringprep.SASLprep.Prepare(password); err == nil {
		return prepared
	}
	return password
}
