"""Tables of events as people have them: Raven, Audacity, BirdNET, DCASE, our own; read and written."""
