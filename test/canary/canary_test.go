package canary

import (
	"encoding/base64"
	"encoding/hex"
	"testing"
)

func TestFind(t *testing.T) {
	s := Set{}
	secret := s.Plant("it")
	for name, place := range map[string]string{
		"plain":   "x" + secret + "y",
		"hex":     "x" + hex.EncodeToString([]byte(secret)),
		"base64":  base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64a": base64.StdEncoding.EncodeToString([]byte(`{"password":"` + secret + `"}`)),
		"base64b": base64.URLEncoding.EncodeToString([]byte(`{"passwords":"` + secret + `"}`)),
		"base64c": base64.StdEncoding.EncodeToString([]byte(`{"my password":"` + secret + `"}`)),
	} {
		if len(s.Find(map[string][]byte{name: []byte(place)})) == 0 {
			t.Errorf("not found: %s", name)
		}
	}
	if found := s.Find(map[string][]byte{"another": []byte(Set{}.Plant("x"))}); len(found) > 0 {
		t.Error(found)
	}
}
