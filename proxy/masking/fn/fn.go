// Package fn is the explicit list of masking functions: it makes a masking.Func of what a
// MaskingRule says. A new function is one new folder and one line here.
package fn

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking"
	"github.com/cardea-dev/cardea/proxy/masking/fn/date"
	"github.com/cardea-dev/cardea/proxy/masking/fn/email"
	"github.com/cardea-dev/cardea/proxy/masking/fn/fixed"
	"github.com/cardea-dev/cardea/proxy/masking/fn/hash"
	"github.com/cardea-dev/cardea/proxy/masking/fn/null"
	"github.com/cardea-dev/cardea/proxy/masking/fn/number"
	"github.com/cardea-dev/cardea/proxy/masking/fn/partial"
	"github.com/cardea-dev/cardea/proxy/masking/fn/redact"
)

const maxFixed = 256

var precisions = []v1alpha1.DatePrecision{v1alpha1.PrecisionYear, v1alpha1.PrecisionQuarter, v1alpha1.PrecisionMonth,
	v1alpha1.PrecisionWeek, v1alpha1.PrecisionDay, v1alpha1.PrecisionHour}

// ErrUnknown says that not exactly one known function is named.
var ErrUnknown = errors.New("exactly one of redact, partial, hash, email, fixed, date, number and null must be set")

// Options are what functions need besides what a rule says.
type Options struct {
	// Secret is the gate's, of which keys of functions are derived. Without one a function
	// that needs a key withholds every row, so that rules can be compiled where nothing is
	// masked.
	Secret []byte
}

// Whole hides a value whole, for results that are made of a masked value.
var Whole masking.Func = redact.Func{}

// Hidden hides a value of any type, and that there is one.
var Hidden masking.Func = null.Func{}

// ShowsNull reports whether f makes NULL of no text, so that NULL, which stays, is seen.
func ShowsNull(f masking.Func) bool {
	switch f.(type) {
	case redact.Func, partial.Func, email.Func, fixed.Func, hash.Func:
		return true
	}
	return false
}

// New returns the function that f names, or an error that says which field is wrong.
func New(f v1alpha1.MaskFunction, o Options) (masking.Func, error) {
	var made []masking.Func
	if f.Redact != nil {
		made = append(made, redact.Func{})
	}
	if p := f.Partial; p != nil {
		if p.KeepFirst < 0 || p.KeepFirst > partial.MaxKeep || p.KeepLast < 0 || p.KeepLast > partial.MaxKeep || p.KeepFirst+p.KeepLast == 0 {
			return nil, fmt.Errorf("partial: keepFirst and keepLast must be between 0 and %d and not both 0", partial.MaxKeep)
		}
		made = append(made, partial.Func{First: int(p.KeepFirst), Last: int(p.KeepLast)})
	}
	more, err := keyedOrTyped(f, o)
	if err != nil {
		return nil, err
	}
	made = append(made, more...)
	if f.Email != nil {
		made = append(made, email.Func{})
	}
	if f.Fixed != nil {
		if !utf8.ValidString(f.Fixed.Value) || strings.ContainsRune(f.Fixed.Value, 0) || utf8.RuneCountInString(f.Fixed.Value) > maxFixed {
			return nil, fmt.Errorf("fixed: value must be at most %d characters of UTF-8 without NUL", maxFixed)
		}
		made = append(made, fixed.Func{Value: f.Fixed.Value})
	}
	if f.Null != nil {
		made = append(made, null.Func{})
	}
	if len(made) != 1 {
		return nil, ErrUnknown
	}
	return made[0], nil
}

// keyedOrTyped returns those of f that need a key, or mask other values than text.
func keyedOrTyped(f v1alpha1.MaskFunction, o Options) (made []masking.Func, err error) {
	if f.Hash != nil {
		h, err := hash.New(int(cmp.Or(f.Hash.Length, hash.DefaultLength)), o.Secret)
		if err != nil {
			return nil, fmt.Errorf("hash: %w", err)
		}
		made = append(made, h)
	}
	if d := f.Date; d != nil {
		if !slices.Contains(precisions, d.Precision) {
			return nil, fmt.Errorf("date: precision must be one of %v", precisions)
		}
		made = append(made, date.Func{Precision: d.Precision})
	}
	if n := f.Number; n != nil {
		if n.MultipleOf < 1 || n.MultipleOf > number.MaxMultiple {
			return nil, fmt.Errorf("number: multipleOf must be between 1 and %d", number.MaxMultiple)
		}
		made = append(made, number.Func{MultipleOf: n.MultipleOf})
	}
	return made, nil
}
