// Package fn is the explicit list of masking functions: it makes a masking.Func of what a
// MaskingRule says. A new function is one new folder and one line here.
package fn

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking"
	"github.com/cardea-dev/cardea/proxy/masking/fn/email"
	"github.com/cardea-dev/cardea/proxy/masking/fn/fixed"
	"github.com/cardea-dev/cardea/proxy/masking/fn/null"
	"github.com/cardea-dev/cardea/proxy/masking/fn/partial"
	"github.com/cardea-dev/cardea/proxy/masking/fn/redact"
)

const maxFixed = 256

// ErrUnknown says that not exactly one known function is named.
var ErrUnknown = errors.New("exactly one of redact, partial, email, fixed and null must be set")

// New returns the function that f names, or an error that says which field is wrong.
func New(f v1alpha1.MaskFunction) (masking.Func, error) {
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
