// Package calendar reads and writes dates and times as ISO 8601 text with SQL's additions:
// years of more than four digits, years before Christ, infinity. It counts in the
// proleptic Gregorian calendar over the whole range of a database, which package time
// does not format.
package calendar

import (
	"bytes"
	"strconv"
)

// Moment is a date with a time of day. Year 0 is 1 BC.
type Moment struct {
	Year, Month, Day     int
	Hour, Minute, Second int
	Micro                int
	// Infinite is 1 for infinity and -1 for -infinity; then nothing else is set.
	Infinite int
}

const (
	maxYear       = 6_000_000 // beyond every database's range
	microsPerDay  = 24 * 60 * 60 * 1_000_000
	daysTo2000    = 730_425 // from 0000-03-01 to 2000-01-01
	daysPerEra    = 146_097 // 400 years
	maxOffset     = 16 * 60 * 60
	before        = " BC"
	infinity      = "infinity"
	minusInfinity = "-infinity"
)

// Days returns the days from 2000-01-01 to m.
func (m Moment) Days() int64 {
	y, month := int64(m.Year), int64(m.Month)
	if month <= 2 {
		y--
	}
	era := floor(y, 400)
	yearOfEra := y - era*400
	dayOfYear := (153*((month+9)%12)+2)/5 + int64(m.Day) - 1
	return era*daysPerEra + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - daysTo2000
}

// Micros returns the microseconds from the beginning of 2000-01-01 to m.
func (m Moment) Micros() int64 {
	return m.Days()*microsPerDay + ((int64(m.Hour)*60+int64(m.Minute))*60+int64(m.Second))*1_000_000 + int64(m.Micro)
}

// OfDays returns the date that many days after 2000-01-01.
func OfDays(days int64) Moment {
	days += daysTo2000
	era := floor(days, daysPerEra)
	day := days - era*daysPerEra
	yearOfEra := (day - day/1460 + day/36524 - day/146096) / 365
	dayOfYear := day - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	shifted := (5*dayOfYear + 2) / 153
	m := Moment{Year: int(yearOfEra + era*400), Month: int((shifted+2)%12 + 1), Day: int(dayOfYear - (153*shifted+2)/5 + 1)}
	if m.Month <= 2 {
		m.Year++
	}
	return m
}

// OfMicros returns the moment that many microseconds after the beginning of 2000-01-01.
func OfMicros(micros int64) Moment {
	days := floor(micros, microsPerDay)
	m, left := OfDays(days), micros-days*microsPerDay
	m.Micro, left = int(left%1_000_000), left/1_000_000
	m.Second, left = int(left%60), left/60
	m.Minute, m.Hour = int(left%60), int(left/60)
	return m
}

func floor(a, b int64) int64 {
	if q := a / b; a%b >= 0 {
		return q
	}
	return a/b - 1
}

// AppendDate appends m as a date.
func (m Moment) AppendDate(dst []byte) []byte { return m.appendEra(m.appendDay(dst)) }

// AppendTime appends m as a date and a time; zone stands behind the time.
func (m Moment) AppendTime(dst []byte, zone string) []byte {
	dst = m.appendDay(dst)
	if m.Infinite != 0 {
		return dst
	}
	dst = appendTwo(append(dst, ' '), m.Hour)
	dst = appendTwo(append(dst, ':'), m.Minute)
	dst = appendTwo(append(dst, ':'), m.Second)
	if m.Micro > 0 {
		dst = append(dst, '.')
		for unit, left := 100_000, m.Micro; left > 0; unit /= 10 {
			dst = append(dst, byte('0'+left/unit)) //nolint:gosec // a digit
			left %= unit
		}
	}
	return m.appendEra(append(dst, zone...))
}

func (m Moment) appendDay(dst []byte) []byte {
	switch {
	case m.Infinite > 0:
		return append(dst, infinity...)
	case m.Infinite < 0:
		return append(dst, minusInfinity...)
	}
	year := m.Year
	if year <= 0 {
		year = 1 - year
	}
	for unit := 1000; unit > 1 && year < unit; unit /= 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendInt(dst, int64(year), 10)
	dst = appendTwo(append(dst, '-'), m.Month)
	return appendTwo(append(dst, '-'), m.Day)
}

func (m Moment) appendEra(dst []byte) []byte {
	if m.Year <= 0 && m.Infinite == 0 {
		return append(dst, before...)
	}
	return dst
}

func appendTwo(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10%10), byte('0'+n%10)) //nolint:gosec // two digits
}

// ParseDate reads a date. ok is false for whatever is not exactly that.
func ParseDate(b []byte) (m Moment, ok bool) {
	r := reader{b: b}
	if m, ok = r.infinity(); ok {
		return m, true
	}
	r.day(&m)
	return r.end(m)
}

// ParseTime reads a date and a time. If zoned, an offset from UTC stands behind it and m
// is in UTC; otherwise there must be none.
func ParseTime(b []byte, zoned bool) (m Moment, ok bool) {
	r := reader{b: b}
	if m, ok = r.infinity(); ok {
		return m, true
	}
	r.day(&m)
	r.expect(' ')
	m.Hour = r.two(24)
	r.expect(':')
	m.Minute = r.two(59)
	r.expect(':')
	m.Second = r.two(60)
	m.Micro = r.fraction()
	offset := 0
	if zoned {
		offset = r.offset()
	}
	if m, ok = r.end(m); !ok || offset == 0 {
		return m, ok
	}
	return OfMicros(m.Micros() - int64(offset)*1_000_000), true
}

// reader takes a text apart. After what is not expected bad is set and stays so.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) infinity() (m Moment, ok bool) {
	switch string(r.b) {
	case infinity:
		return Moment{Infinite: 1}, true
	case minusInfinity:
		return Moment{Infinite: -1}, true
	}
	return m, false
}

// end takes the era and nothing else.
func (r *reader) end(m Moment) (Moment, bool) {
	if bytes.Equal(r.b, []byte(before)) {
		m.Year, r.b = 1-m.Year, nil
	}
	return m, !r.bad && len(r.b) == 0
}

func (r *reader) day(m *Moment) {
	digits := 0
	for digits < len(r.b) && r.b[digits] >= '0' && r.b[digits] <= '9' {
		digits++
	}
	if digits < 4 || digits > 7 {
		r.bad = true
		return
	}
	for _, c := range r.b[:digits] {
		m.Year = m.Year*10 + int(c-'0')
	}
	r.b = r.b[digits:]
	r.expect('-')
	m.Month = r.two(12)
	r.expect('-')
	m.Day = r.two(31)
	if m.Year < 1 || m.Year > maxYear || m.Month < 1 || m.Day < 1 {
		r.bad = true
	}
}

func (r *reader) expect(c byte) {
	if r.bad || len(r.b) == 0 || r.b[0] != c {
		r.bad = true
		return
	}
	r.b = r.b[1:]
}

func (r *reader) two(most int) int {
	if r.bad || len(r.b) < 2 || r.b[0] < '0' || r.b[0] > '9' || r.b[1] < '0' || r.b[1] > '9' {
		r.bad = true
		return 0
	}
	n := int(r.b[0]-'0')*10 + int(r.b[1]-'0')
	r.b = r.b[2:]
	if n > most {
		r.bad = true
	}
	return n
}

func (r *reader) fraction() int {
	if r.bad || len(r.b) == 0 || r.b[0] != '.' {
		return 0
	}
	r.b = r.b[1:]
	n, unit := 0, 100_000
	for len(r.b) > 0 && r.b[0] >= '0' && r.b[0] <= '9' {
		if unit == 0 {
			r.bad = true
			return 0
		}
		n += int(r.b[0]-'0') * unit
		unit /= 10
		r.b = r.b[1:]
	}
	return n
}

// offset returns the seconds of +HH, +HH:MM or +HH:MM:SS.
func (r *reader) offset() int {
	if r.bad || len(r.b) == 0 || r.b[0] != '+' && r.b[0] != '-' {
		r.bad = true
		return 0
	}
	sign := 1
	if r.b[0] == '-' {
		sign = -1
	}
	r.b = r.b[1:]
	n := r.two(15) * 60 * 60
	for _, unit := range []int{60, 1} {
		if len(r.b) == 0 || r.b[0] != ':' {
			break
		}
		r.b = r.b[1:]
		n += r.two(59) * unit
	}
	if n >= maxOffset {
		r.bad = true
	}
	return sign * n
}
