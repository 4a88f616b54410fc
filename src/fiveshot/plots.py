"""Pictures."""
def plot_training(a,b):
    pass
