// Package hash masks values by a keyed hash, HMAC-SHA-256 over the value's canonical text,
// so that equal values stay equal and nobody without the key can try values.
//
// What stands for a value is valid for its column's type: for text the hash in base32; for
// whole numbers a positive one that the type holds, of which the lower bits are the same
// in every size of integer; for UUIDs one of version 8; for bytes the hash itself. A
// bigint has 63 bits of the hash, an integer 31 and a smallint 15, so that different
// values of an integer column of many rows, and of any smallint column, meet in one hash.
package hash

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	gohash "hash"
	"strconv"
	"sync"

	"github.com/cardea-dev/cardea/proxy/masking"
)

// The bounds of a hash in characters.
const (
	MinLength     = 16
	MaxLength     = 52
	DefaultLength = 26
)

const (
	keySize = 32
	// label keeps the key apart from that of hashes in recordings and approval requests, so
	// that one cannot be looked up among the others.
	label       = "cardea masking function hash v1"
	maxDigits   = 18
	version8    = 0x80
	variantBits = 0x80
)

// ErrNoKey withholds rows with hashed values where there is no key.
var ErrNoKey = errors.New("there is no key to hash with")

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Func hashes values. The zero Func withholds every row.
type Func struct {
	length int
	macs   *sync.Pool // of *state
}

type state struct {
	mac gohash.Hash
	sum [sha256.Size]byte
	hex [sha256.Size]byte
}

// New returns a function that shows length characters. secret is the gate's secret, of
// which the key is derived; without one the function withholds every row.
func New(length int, secret []byte) (Func, error) {
	if length < MinLength || length > MaxLength {
		return Func{}, fmt.Errorf("length must be between %d and %d", MinLength, MaxLength)
	}
	f := Func{length: length}
	if len(secret) == 0 {
		return f, nil
	}
	key, err := hkdf.Key(sha256.New, secret, nil, label, keySize)
	if err != nil {
		return Func{}, fmt.Errorf("derive the key: %w", err)
	}
	f.macs = &sync.Pool{New: func() any { return &state{mac: hmac.New(sha256.New, key)} }}
	return f, nil
}

// Mask appends the hash of a text.
func (f Func) Mask(dst, src []byte) ([]byte, bool, error) {
	return f.with(dst, src, func(dst []byte, s *state) []byte {
		from := len(dst)
		return encoding.AppendEncode(dst, s.sum[:])[:from+f.length]
	})
}

func (f Func) with(dst, src []byte, show func([]byte, *state) []byte) ([]byte, bool, error) {
	if f.macs == nil {
		return dst, true, ErrNoKey
	}
	s := f.macs.Get().(*state) //nolint:forcetypeassert // the pool holds nothing else
	defer f.macs.Put(s)
	s.mac.Reset()
	s.mac.Write(src)
	s.mac.Sum(s.sum[:0])
	return show(dst, s), false, nil
}

// For returns the function for one type.
func (f Func) For(t masking.Type) masking.Func {
	switch t.Kind {
	case masking.Text:
		return f
	case masking.Int:
		return whole{f, uint64(1)<<(t.Bits-1) - 1, 0}
	case masking.Decimal:
		digits := maxDigits
		switch {
		case t.Digits < 0:
			return nil
		case t.Digits > 0:
			digits = min(digits, t.Digits)
		}
		most := uint64(1)
		for range digits {
			most *= 10
		}
		return whole{f, 1<<63 - 1, most}
	case masking.UUID:
		return uuid{f}
	case masking.Bytes:
		return binaryHash{f}
	case masking.Other, masking.Float, masking.Date, masking.Time:
	}
	return nil
}

// whole hashes numbers: the lower bits of the hash's first eight bytes, or what is left
// of them after division.
type whole struct {
	f       Func
	mask    uint64
	modulus uint64 // 0: none
}

// Mask appends a number.
func (w whole) Mask(dst, src []byte) ([]byte, bool, error) {
	return w.f.with(dst, src, func(dst []byte, s *state) []byte {
		n := binary.BigEndian.Uint64(s.sum[:]) & w.mask
		if w.modulus > 0 {
			n %= w.modulus
		}
		return strconv.AppendUint(dst, n, 10)
	})
}

type uuid struct{ f Func }

// Mask appends a UUID of version 8 (RFC 9562, 5.8).
func (u uuid) Mask(dst, src []byte) ([]byte, bool, error) {
	return u.f.with(dst, src, func(dst []byte, s *state) []byte {
		s.sum[6] = s.sum[6]&0x0f | version8
		s.sum[8] = s.sum[8]&0x3f | variantBits
		hex.Encode(s.hex[:], s.sum[:16])
		from := 0
		for _, to := range []int{8, 12, 16, 20, 32} {
			if from > 0 {
				dst = append(dst, '-')
			}
			dst = append(dst, s.hex[from:to]...)
			from = to
		}
		return dst
	})
}

type binaryHash struct{ f Func }

// Mask appends the bytes of the hash, as many as a text of the length would show.
func (b binaryHash) Mask(dst, src []byte) ([]byte, bool, error) {
	return b.f.with(dst, src, func(dst []byte, s *state) []byte {
		return append(dst, s.sum[:b.f.length*5/8]...)
	})
}
