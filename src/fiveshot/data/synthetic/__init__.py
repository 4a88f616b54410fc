"""Invented sound: the demo corpus (`corpus`) and endless training scenes (`scenes`)."""
