package accounts

import "fmt"

// seeded is how many customers a new store has.
const seeded = 1000

// seedPassword is the password of every seeded customer.
const seedPassword = "correct horse"

// account is one customer.
type account struct {
	id, email, name, address string
}

// seedAccounts returns the customers of a new store, the same every time:
// customer-1@example.com to customer-1000@example.com.
func seedAccounts() []account {
	first := []string{
		"Ada", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace", "Hedy", "Ivan", "Jean",
		"Kathleen", "Leslie", "Margaret", "Niklaus", "Olga", "Peter", "Radia", "Sophie", "Tony", "Ursula",
		"Vint", "Wilhelmina", "Xiaoyun", "Yukihiro", "Zofia",
	}
	last := []string{
		"Abbott", "Bianchi", "Castillo", "Dvorak", "Eriksen", "Fontaine", "Gruber", "Haddad", "Ishikawa", "Jansen",
		"Kowalska", "Lindqvist", "Moreau", "Nakamura", "Okafor", "Papadaki", "Quinn", "Rossi", "Schneider", "Tanaka",
		"Ulrich", "Vasquez", "Weber", "Xu", "Yilmaz", "Zeman", "Aydin", "Brandt", "Costa", "Dubois",
		"Engel", "Ferreira", "Gallo", "Horvat", "Ivanova", "Jovanovic", "Keller", "Larsen", "Mendez", "Novak",
	}
	streets := []string{"Station Road", "Mill Lane", "Harbour Street", "Church Row", "Market Square", "Elm Avenue", "Canal Side"}
	towns := []string{"Northbridge", "Eastwick", "Southport", "Westerham", "Ashford", "Lakeside", "Hilltop", "Riverton"}
	accounts := make([]account, 0, seeded)
	for i := range seeded {
		id := fmt.Sprintf("customer-%d", i+1)
		accounts = append(accounts, account{
			id:      id,
			email:   id + "@example.com",
			name:    first[i%len(first)] + " " + last[i/len(first)],
			address: fmt.Sprintf("%d %s, %05d %s", 1+i*7%180, streets[i%len(streets)], 10000+i*83%90000, towns[i%len(towns)]),
		})
	}
	return accounts
}
