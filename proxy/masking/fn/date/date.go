// Package date masks dates and times by cutting them at the beginning of a unit.
//
// Instants are cut in UTC, whatever zone the session shows them in: cut in the session's
// zone, a client could find the time by moving the zone. Infinity stays. What is no date
// becomes NULL, as does a result that no database holds.
package date

import (
	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking"
	"github.com/cardea-dev/cardea/proxy/masking/calendar"
)

// minDays is the first day that PostgreSQL knows, -4713-11-24, in days from 2000-01-01.
const minDays = -2_451_545

// Func cuts dates and times. It has no value of another kind.
type Func struct{ Precision v1alpha1.DatePrecision }

// Mask has no value of text.
func (Func) Mask(dst, _ []byte) ([]byte, bool, error) { return dst, true, nil }

// For returns the function for dates or for times.
func (f Func) For(t masking.Type) masking.Func {
	switch t.Kind {
	case masking.Date:
		return day(f)
	case masking.Time:
		return moment(f)
	case masking.Other, masking.Text, masking.Int, masking.Decimal, masking.Float, masking.UUID, masking.Bytes:
	}
	return nil
}

type day Func

// Mask appends the date at which the unit of src begins.
func (f day) Mask(dst, src []byte) ([]byte, bool, error) {
	m, ok := calendar.ParseDate(src)
	if m, ok = cut(m, ok, f.Precision); !ok {
		return dst, true, nil
	}
	return m.AppendDate(dst), false, nil
}

type moment Func

// Mask appends the time at which the unit of src begins.
func (f moment) Mask(dst, src []byte) ([]byte, bool, error) {
	m, ok := calendar.ParseTime(src, false)
	if m, ok = cut(m, ok, f.Precision); !ok {
		return dst, true, nil
	}
	return m.AppendTime(dst, ""), false, nil
}

func cut(m calendar.Moment, ok bool, p v1alpha1.DatePrecision) (calendar.Moment, bool) {
	if !ok || m.Infinite != 0 {
		return m, ok
	}
	begin := calendar.Moment{Year: m.Year, Month: m.Month, Day: m.Day}
	switch p {
	case v1alpha1.PrecisionHour:
		begin.Hour = m.Hour
	case v1alpha1.PrecisionDay:
	case v1alpha1.PrecisionWeek:
		days := begin.Days()
		// 2000-01-01 was a Saturday.
		begin = calendar.OfDays(days - ((days+5)%7+7)%7)
	case v1alpha1.PrecisionMonth:
		begin.Day = 1
	case v1alpha1.PrecisionQuarter:
		begin.Month, begin.Day = (m.Month-1)/3*3+1, 1
	case v1alpha1.PrecisionYear:
		begin.Month, begin.Day = 1, 1
	default:
		return begin, false
	}
	return begin, begin.Days() >= minDays
}
