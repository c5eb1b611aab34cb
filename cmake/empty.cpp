// Keeps the library a library while src/ holds headers only.
